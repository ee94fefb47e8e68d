import json
import struct

import numpy as np
import pytest

from selfsup3d.export.gltf import capsule, quaternions, write_glb
from selfsup3d.export.rig import fit_rig
from selfsup3d.structures.skeleton import H36M_17


def read_independently(path):
    """Document and binary part, by the format's two chunks."""
    data = path.read_bytes()
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert size % 4 == 0
    binary, tag = struct.unpack_from("<I4s", data, 20 + size)
    assert tag == b"BIN\0"
    assert 28 + size + binary == len(data)
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def accessor(document, binary, index):
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    kind = {5126: "<f4", 5123: "<u2"}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
    values = np.frombuffer(binary, kind, entry["count"] * width, view["byteOffset"]).reshape(-1, width)
    np.testing.assert_allclose(values.min(0), entry["min"], rtol=1e-6)
    np.testing.assert_allclose(values.max(0), entry["max"], rtol=1e-6)
    return values


def animated(document, binary, frame):
    """Node name -> place in the world at a frame, as a viewer would find it; None = by one that ignores animations."""
    from scipy.spatial.transform import Rotation

    turns, places = {}, {}
    for channel in document["animations"][0]["channels"] if frame is not None else ():
        sampler = document["animations"][0]["samplers"][channel["sampler"]]
        values = accessor(document, binary, sampler["output"])
        store = {"rotation": turns, "translation": places}[channel["target"]["path"]]
        store[channel["target"]["node"]] = values[frame]
    found = {}

    def visit(index, world):
        node = document["nodes"][index]
        local = np.eye(4)
        local[:3, 3] = places.get(index, node.get("translation", (0, 0, 0)))
        turn = turns.get(index, node.get("rotation", (0, 0, 0, 1)))
        local[:3, :3] = Rotation.from_quat(turn).as_matrix()
        found[node["name"]] = (world @ local)[:3, 3]
        for child in node.get("children", ()):
            visit(child, world @ local)

    for root in document["scenes"][0]["nodes"]:
        visit(root, np.eye(4))
    return found


def test_a_viewer_finds_the_joints(tmp_path, motion):
    write_glb(tmp_path / "m.glb", motion, fps=10.0)
    document, binary = read_independently(tmp_path / "m.glb")
    for frame in (0, 7, 19):
        found = animated(document, binary, frame)
        for joint, name in enumerate(H36M_17.joint_names):
            np.testing.assert_allclose(found[name], motion[frame, joint] * [1, -1, -1], atol=1e-4, err_msg=name)
    times = accessor(document, binary, document["animations"][0]["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(times, np.arange(20) / 10.0, atol=1e-6)


def test_a_viewer_that_ignores_animations_finds_the_first_pose(tmp_path, motion):
    write_glb(tmp_path / "m.glb", motion[7:8], fps=1.0)
    found = animated(*read_independently(tmp_path / "m.glb"), None)
    for joint, name in enumerate(H36M_17.joint_names):
        np.testing.assert_allclose(found[name], motion[7, joint] * [1, -1, -1], atol=1e-4, err_msg=name)


def test_another_library_reads_it(tmp_path, motion):
    pygltflib = pytest.importorskip("pygltflib", reason="pygltflib is not installed (extra: test)")
    write_glb(tmp_path / "m.glb", motion, fps=10.0)
    read = pygltflib.GLTF2().load(str(tmp_path / "m.glb"))
    assert read.asset.version == "2.0"
    assert len(read.meshes) == 16
    assert {node.name for node in read.nodes} >= set(H36M_17.joint_names)
    assert len(read.binary_blob()) == read.buffers[0].byteLength
    assert all(view.byteOffset % 4 == 0 for view in read.bufferViews)


def test_a_limb_is_a_closed_surface_seen_from_outside():
    points, normals, triangles = capsule(np.array([0.1, -0.4, 0.2]), 0.05)
    corners = points[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    real = np.linalg.norm(faces, axis=1) > 1e-9  # at the poles a triangle has no area
    assert ((faces * normals[triangles].mean(1)).sum(-1)[real] > 0).all()
    volume = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6.0
    length = np.linalg.norm([0.1, -0.4, 0.2])
    assert volume == pytest.approx(np.pi * 0.05**2 * (length + 4 / 3 * 0.05), rel=0.1)


def test_rotations_take_the_short_way(motion):
    turned = quaternions(fit_rig(motion, 10.0).rotations[:, 0])
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1.0, atol=1e-12)
    assert ((turned[1:] * turned[:-1]).sum(1) >= 0).all()
