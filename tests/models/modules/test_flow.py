import torch

from selfsup3d.models.modules.flow import Flow


def random_flow(size=5):
    torch.manual_seed(0)
    flow = Flow(size, layers=4, width=16).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return flow


def test_inverse():
    flow, x = random_flow(), torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(flow.inverse(flow(x)[0]), x, atol=1e-4, rtol=1e-4)


def test_log_determinant_against_the_jacobian():
    flow, x = random_flow(), torch.randn(1, 5, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda p: flow(p)[0][0], x)[:, 0]
    torch.testing.assert_close(flow(x)[1][0].double(), torch.linalg.slogdet(jacobian)[1], atol=1e-4, rtol=1e-4)


def test_it_starts_as_the_normal_density_and_learns_another():
    torch.manual_seed(0)
    flow = Flow(3, layers=4, width=32)
    x = torch.randn(200, 3)
    expected = -torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1)
    torch.testing.assert_close(flow.negative_log_likelihood(x), expected)
    data = torch.randn(200, 3) * 0.2 + 1.0
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    before = flow.negative_log_likelihood(data).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        flow.negative_log_likelihood(data).mean().backward()
        optimizer.step()
    assert flow.negative_log_likelihood(data).mean().item() < before - 1.0


def test_the_permutations_are_part_of_the_architecture():
    torch.manual_seed(1)
    first = Flow(6)
    torch.manual_seed(2)
    assert all(torch.equal(a.order, b.order) for a, b in zip(first.layers, Flow(6).layers, strict=True))
