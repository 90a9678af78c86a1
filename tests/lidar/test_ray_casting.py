"""Rays against closed forms, gradients against difference quotients, memory against the chunk."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sparring.errors import ConfigError, InputError
from sparring.lidar import Lidar, cast, cast_soft
from sparring.lidar.meshes import box, car, cylinder, icosphere, subdivided


def fan(count, width=0.3):
    """Directions around the x axis, in a grid that no ray of which lies on an axis."""
    y, z = torch.meshgrid(*(torch.linspace(-width, width + 0.003, count, dtype=torch.float64),) * 2, indexing="ij")
    return torch.nn.functional.normalize(torch.stack((torch.ones_like(y), y, z), dim=2).flatten(0, 1), dim=1)


def sphere_ranges(directions, centre, radius):
    """Distances at which rays from the origin enter a sphere, inf where they do not."""
    along = directions @ centre
    inside = along.square() - centre.square().sum() + radius**2
    return torch.where(inside >= 0, along - inside.clamp_min(0).sqrt(), torch.inf)


def test_a_fine_sphere_is_hit_where_the_formula_says():
    mesh, centre = icosphere(5), torch.tensor([6.0, 0.2, -0.1], dtype=torch.float64)
    rays = fan(60)
    hits = cast(rays, mesh.vertices.double()[None] + centre, mesh.faces)
    exact = sphere_ranges(rays, centre, 1.0)[None]
    angle = (rays @ torch.nn.functional.normalize(centre, dim=0)).acos()[None]
    clear = (angle - math.asin(1 / float(centre.norm()))).abs() > 2e-3  # the polyhedron is a little smaller
    assert torch.equal(hits.hit[clear], exact.isfinite()[clear])
    inner = angle < 0.8 * math.asin(1 / float(centre.norm()))
    assert (hits.ranges[inner] - exact[inner]).abs().max() < 2e-3


def test_a_plane_is_hit_where_the_formula_says():
    sensor = Lidar.of_beams(16, azimuth_step=3.0)
    square = [[-400.0, -400], [400, -400], [400, 400], [-400, 400]]
    corners = torch.tensor([[*corner, -1.73] for corner in square], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    hits = cast(sensor.directions(torch.float64), corners[None], faces)
    exact = sensor.ground(torch.float64)[None]
    assert torch.equal(hits.hit, exact.isfinite())
    assert torch.allclose(hits.ranges[hits.hit], exact[hits.hit], rtol=1e-9)


def test_the_nearest_of_many_faces_is_found_whatever_the_chunk():
    mesh = subdivided(car())
    vertices = torch.stack(
        [mesh.vertices * torch.tensor([4.2, 1.8, 1.5]) + torch.tensor([8.0 + i, i, -1.7]) for i in range(3)]
    )
    rays = fan(20).float()
    whole = cast(rays, vertices, mesh.faces)
    for chunk in (150, 1000):
        assert torch.equal(cast(rays, vertices, mesh.faces, chunk=chunk).faces, whole.faces)
    corners = vertices[:, mesh.faces][:, None].double()  # every ray against every face, by solving for t, u, v
    e1, e2 = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    system = torch.stack(
        (
            rays.double()[None, :, None].expand_as(e1.expand(-1, len(rays), -1, -1)),
            *(-e for e in (e1.expand(-1, len(rays), -1, -1), e2.expand(-1, len(rays), -1, -1))),
        ),
        dim=-1,
    )
    flat = torch.linalg.det(system).abs() < 1e-9
    system = torch.where(flat[..., None, None], torch.eye(3, dtype=torch.float64), system)
    t, u, v = torch.linalg.solve(system, corners[..., 0, :].expand(-1, len(rays), -1, -1)).unbind(-1)
    t = t.masked_fill(flat | (u < 0) | (v < 0) | (u + v > 1) | (t <= 0), torch.inf)
    assert whole.hit.sum() > 50
    assert (whole.hit != t.amin(2).isfinite()).sum() <= 3  # rays on an edge
    both = whole.hit & t.amin(2).isfinite()
    assert torch.allclose(whole.ranges[both].double(), t.amin(2)[both], atol=1e-4)


def test_ranges_have_the_gradient_of_a_difference_quotient():
    mesh, rays = icosphere(1), fan(12)
    vertices = (mesh.vertices.double() + torch.tensor([5.0, 0.1, 0.2]))[None].requires_grad_()
    weights = torch.linspace(-1, 1, len(rays), dtype=torch.float64)
    hit = cast(rays, vertices, mesh.faces).hit

    def total(vertices):
        return (torch.where(hit, cast(rays, vertices, mesh.faces).ranges, 0) * weights).sum()

    (grad,) = torch.autograd.grad(total(vertices), vertices)
    way = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ahead, behind = (total(vertices.detach() + side * 1e-6 * way) for side in (1, -1))
    assert math.isclose(float((ahead - behind) / 2e-6), float((grad * way).sum()), rel_tol=1e-5)


@pytest.mark.parametrize(
    "mesh", [icosphere(2), box(2).placed((2, 2, 2), (0, 0, -1)), cylinder(12).placed((2, 2, 2), (0, 0, -1))]
)
def test_the_outline_gives_hit_and_miss_a_gradient(mesh):
    """Moving the mesh sideways moves its coverage; the gradient is that of a difference quotient."""
    rays = fan(25)
    vertices = (mesh.vertices.double() + torch.tensor([6.0, 0.13, 0.07]))[None].requires_grad_()
    weights = rays[:, 1]  # the mesh moves to the left: more coverage there

    def covered(vertices):
        return (cast_soft(rays, vertices, mesh.faces, 0.02).coverage * weights).sum()

    (grad,) = torch.autograd.grad(covered(vertices), vertices)
    way = torch.zeros_like(vertices).index_fill_(2, torch.tensor([1]), 1.0)
    ahead, behind = (covered(vertices.detach() + side * 1e-6 * way) for side in (1, -1))
    assert float((grad * way).sum()) > 0.1
    assert math.isclose(float((ahead - behind) / 2e-6), float((grad * way).sum()), rel_tol=2e-3)


def test_a_soft_cast_becomes_the_hard_one_as_sigma_falls():
    mesh = car().placed((4.2, 1.8, 1.5), (8.0, 0.3, -1.7))
    rays = fan(40)
    vertices = mesh.vertices.double()[None]
    hard = cast(rays, vertices, mesh.faces)
    gaps = []
    for sigma in (1e-2, 1e-3, 1e-7):
        soft = cast_soft(rays, vertices, mesh.faces, sigma)
        gaps.append(float((soft.coverage - hard.hit.double()).abs().sum()))
        assert torch.equal(soft.hit, hard.hit)
        assert torch.equal(soft.ranges[hard.hit], hard.ranges[hard.hit])
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


def test_contours_inside_the_picture_are_no_outline():
    mesh = car().placed((4.2, 1.8, 1.5), (8.0, 0.0, -1.7))
    rays = torch.nn.functional.normalize(
        torch.tensor([[7.0, 0.0, -0.9], [7.0, 0.2, -0.83]], dtype=torch.float64), dim=1
    )
    soft = cast_soft(rays, mesh.vertices.double()[None], mesh.faces, 0.004)  # at the cabin's foot, in the middle
    assert bool(soft.hit.all())
    assert soft.coverage.min() > 0.99


class Largest(TorchDispatchMode):
    """Remembers the most elements of a tensor that an operation returns."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor):
                self.most = max(self.most, one.numel())
        return out


def test_memory_is_bounded_by_the_chunk_and_not_by_rays_times_faces():
    rays, chunk = fan(70), 20_000
    mesh = icosphere(4)  # 5,120 faces
    vertices = (mesh.vertices.double() + torch.tensor([4.0, 0, 0]))[None].requires_grad_()
    with Largest() as seen:
        hits = cast(rays, vertices, mesh.faces, chunk=chunk)
        hits.ranges[hits.hit].sum().backward()
    bound = 12 * chunk + 24 * len(rays) + 24 * len(mesh.faces)
    assert len(rays) * len(mesh.faces) > 40 * bound
    assert seen.most <= bound


def test_what_does_not_fit_is_refused():
    mesh, rays = box(), fan(2)
    with pytest.raises(InputError, match=r"vertices \(B, V, 3\)"):
        cast(rays, mesh.vertices, mesh.faces)
    with pytest.raises(InputError, match="faces name vertices"):
        cast(rays.float(), mesh.vertices[None, :4], mesh.faces)
    with pytest.raises(InputError, match="int64"):
        cast(rays.float(), mesh.vertices[None], mesh.faces.int())
    with pytest.raises(ConfigError, match="chunk"):
        cast(rays.float(), mesh.vertices[None], mesh.faces, chunk=0)
    with pytest.raises(ConfigError, match="sigma"):
        cast_soft(rays.float(), mesh.vertices[None], mesh.faces, 0.0)
