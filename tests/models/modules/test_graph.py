import pytest
import torch
from torch import nn

from selfsup3d.models.modules.graph import GraphConvolution, NonLocal, normalised
from selfsup3d.structures.skeleton import H36M_17


@pytest.mark.parametrize(("edges", "matrices"), [("per_channel", 6), ("shared", 1)])
def test_edge_weights_are_learnt_between_neighbours_only(edges, matrices):
    layer = GraphConvolution(3, 6, edges)
    torch.nn.init.normal_(layer.edges)
    weights = layer.weights()
    assert weights.shape == (matrices, 17, 17)
    assert not weights[:, ~torch.from_numpy(H36M_17.adjacency)].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(matrices, 17))


@pytest.mark.parametrize("edges", ["per_channel", "shared"])
def test_against_the_sum_by_hand(edges):
    torch.manual_seed(0)
    layer = GraphConvolution(3, 4, edges)
    torch.nn.init.normal_(layer.edges)
    x = torch.randn(2, 17, 3)
    weights = layer.weights().expand(4, 17, 17)
    expected = torch.zeros(2, 17, 4)
    for i in range(17):
        for j in range(17):
            message = layer.own(x[:, j]) if i == j else layer.neighbours(x[:, j])
            expected[:, i] += weights[:, i, j] * message
    torch.testing.assert_close(layer(x.permute(2, 1, 0)), expected.permute(2, 1, 0), atol=1e-5, rtol=1e-4)


def test_a_far_joint_has_no_influence_in_one_layer_and_gets_it_by_attention():
    layer, attention = GraphConvolution(4, 4), NonLocal(4)
    torch.nn.init.normal_(attention.leave.weight)
    x = torch.randn(4, 17, 1)
    moved = x.clone()
    moved[:, 3] += 1.0  # right ankle
    assert torch.equal(layer(x)[:, 16], layer(moved)[:, 16])
    assert not torch.allclose(attention(x)[:, 16], attention(moved)[:, 16])


def test_attention_starts_as_the_identity():
    x = torch.randn(8, 17, 2)
    assert torch.equal(NonLocal(8)(x), x)


def test_attention_is_that_of_scaled_dot_products():
    layer, x = NonLocal(8), torch.randn(8, 17, 5)
    torch.nn.init.normal_(layer.leave.weight)
    rows = x.permute(2, 1, 0)  # (B, 17, C)
    attended = nn.functional.scaled_dot_product_attention(layer.query(rows), layer.key(rows), layer.value(rows))
    torch.testing.assert_close(layer(x), (rows + layer.leave(attended)).permute(2, 1, 0), atol=1e-5, rtol=1e-4)


def test_batchnorm_is_over_joints_and_samples():
    ours, plain, x = nn.BatchNorm1d(6), nn.BatchNorm1d(6), 3 * torch.randn(6, 17, 5) + 1
    torch.testing.assert_close(normalised(ours, x), plain(x.permute(2, 0, 1)).relu().permute(1, 2, 0))
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)
