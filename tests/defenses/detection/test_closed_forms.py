"""Each score against its formula, computed another way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, jensenshannon, mahalanobis
from scipy.special import expit, logsumexp, softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity as Kernels

from sparring.defenses.detection import Subspace
from sparring.defenses.detection.activations import activations, default_layers, flatten_units, spatial_mean
from sparring.defenses.detection.kernel_density import Densities, log_density, logits_and_hidden, most_likely_bandwidth
from sparring.defenses.detection.lid import intrinsic_dimension, reference_distances
from sparring.defenses.detection.logistic import fit_logistic
from sparring.defenses.detection.magnet import jensen_shannon, reconstruction_errors
from sparring.defenses.detection.mahalanobis import Gaussians, fit_gaussians
from sparring.defenses.detection.subspace import log_residual, principal_directions
from sparring.random import Key
from sparring.testing.cases import draw


def test_logistic_regression_read_out_is_scikit_learns():
    clean, adversarial = draw("a", (40, 3)) * 2, draw("b", (25, 3)) + 1
    weight, bias = fit_logistic(clean, adversarial)
    both = torch.cat((clean, adversarial)).numpy()
    scaled = (both - both.mean(0)) / both.std(0)
    theirs = LogisticRegression(class_weight="balanced", max_iter=1000).fit(scaled, [0] * 40 + [1] * 25)
    ours = expit((torch.from_numpy(both) @ weight + bias).numpy())
    assert ours == pytest.approx(theirs.predict_proba(scaled)[:, 1], abs=1e-9)


def test_a_feature_that_never_changes_does_no_harm():
    weight, bias = fit_logistic(torch.ones(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64))
    assert bool(torch.cat((weight, bias[None])).isfinite().all())


def test_mahalanobis_is_scipys(task):
    layers = ("1", "6")
    found = fit_gaussians(task.target, task.clean, task.labels, layers)
    ours = found.distances(task.target, task.validation[:9], 0.0).detach().numpy()
    labels = task.labels.numpy()
    _, features = activations(task.target, task.clean, layers, spatial_mean)
    _, asked = activations(task.target, task.validation[:9], layers, spatial_mean)
    for column, (known, points) in enumerate(zip(features, asked, strict=True)):
        known, points = known.detach().numpy(), points.detach().numpy()
        means = [known[labels == label].mean(0) for label in range(3)]
        apart = known - np.array(means)[labels]
        precision = np.linalg.pinv(apart.T @ apart / len(known), rcond=1e-6, hermitian=True)
        theirs = [min(mahalanobis(point, mean, precision) ** 2 for mean in means) for point in points]
        assert ours[:, column] == pytest.approx(theirs, rel=1e-6)


def test_mahalanobis_leaves_out_directions_without_variance():
    """Two equal units are one direction: no division by nothing."""
    flat_layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).double()
    with torch.no_grad():
        flat_layer[1].weight[1] = flat_layer[1].weight[0]
        flat_layer[1].bias[1] = flat_layer[1].bias[0]
    from sparring import Classifier

    images = draw("dup", (30, 1, 2, 2)).abs().clamp(0, 1)
    found = fit_gaussians(Classifier(flat_layer), images, torch.arange(30) % 2, ("1",))
    assert found.whiteners[0].shape == (2, 1)
    assert bool(found.distances(Classifier(flat_layer), images, 0.0).isfinite().all())


def test_the_noise_of_mahalanobis_draws_images_in(task):
    """x - noise * sign(slope of the distance) is nearer to its class, to first order."""
    found = fit_gaussians(task.target, task.clean, task.labels, ("6",))
    still, moved = (found.distances(task.target, task.validation, noise) for noise in (0.0, 1e-3))
    assert float((moved < still).double().mean()) > 0.95
    with pytest.raises(AssertionError):
        torch.testing.assert_close(still, moved)


def test_lid_is_its_formula(task):
    points, reference = draw("points", (7, 5)), draw("reference", (30, 5))
    ours = intrinsic_dimension(reference_distances(points, reference[None]), 8).squeeze(1)
    for row, apart in enumerate(np.sort(cdist(points.numpy(), reference.numpy()), axis=1)[:, :8]):
        assert float(ours[row]) == pytest.approx(-1 / np.mean(np.log(apart / apart[-1])), rel=1e-10)


def test_lid_of_a_flat_cloud_is_its_dimension():
    """Uniform points of a d-dimensional cube in 20 dimensions, seen from its middle."""
    for d in (2, 6):
        cloud = torch.zeros(3000, 20, dtype=torch.float64)
        cloud[:, :d] = Key(torch.arange(3000), d).uniform("cloud", (d,), dtype=torch.float64) - 0.5
        found = float(
            intrinsic_dimension(reference_distances(torch.zeros(1, 20, dtype=torch.float64), cloud[None]), 200)
        )
        assert found == pytest.approx(d, rel=0.2)


def test_lid_of_an_image_that_is_its_own_neighbour_is_finite():
    points = draw("same", (6, 3))
    assert bool(intrinsic_dimension(reference_distances(points, points[None]), 4).isfinite().all())
    assert bool(intrinsic_dimension(torch.ones(2, 5, dtype=torch.float64), 4).isfinite().all())


def test_averaged_minibatches_of_lid(task, fitted):
    f = fitted["lid of pooled layers"]
    _, found = activations(task.target, task.validation, f.layers, spatial_mean)
    columns = []
    for features, reference in zip(found, f.reference, strict=True):
        each = [intrinsic_dimension(reference_distances(features, part[None]), 5).squeeze(1) for part in reference]
        columns.append(torch.stack(each).mean(0))
    by_hand = torch.stack(columns, 1) @ f.weight + f.bias
    torch.testing.assert_close(f.score(task.validation), by_hand.detach(), rtol=1e-9, atol=1e-9)


def test_log_density_is_scikit_learns():
    x, points = draw("x", (9, 4)), draw("kernels", (40, 4))
    classes, wanted = torch.arange(40) % 2, torch.arange(9) % 2
    ours = log_density(x, points, wanted[:, None] == classes, 0.7)
    for label in (0, 1):
        theirs = Kernels(kernel="gaussian", bandwidth=0.7).fit(points[classes == label].numpy())
        asked = theirs.score_samples(x[wanted == label].numpy())
        assert ours[wanted == label].numpy() == pytest.approx(asked, abs=1e-6)


def test_the_likeliest_bandwidth_is_the_best_of_its_grid():
    points, others = draw("half", (60, 3)), draw("other half", (60, 3))
    one = torch.zeros(60, dtype=torch.long)
    width = most_likely_bandwidth(points, one, others, one)
    own = torch.ones(60, 60, dtype=torch.bool)
    near, far = (float(log_density(others, points, own, width * factor).mean()) for factor in (0.5, 2))
    assert float(log_density(others, points, own, width).mean()) > max(near, far)


def test_bayesian_uncertainty_is_its_formula(task):
    """mean p.p - (mean p).(mean p) over the masks, which come from the key."""
    hidden = logits_and_hidden(task.target, task.clean, "7")[1].detach()
    densities = Densities("7", hidden, task.labels, 1.0, n_samples=4, dropout=0.5)
    key, images = Key(torch.arange(5) + 3, 9), task.validation[:5]
    ours = densities.features(task.target, images, key)[:, 1].detach()
    inside = logits_and_hidden(task.target, images, "7")[1].detach()
    weight, bias = task.net[7].weight.detach(), task.net[7].bias.detach()
    draws = []
    for turn in range(4):
        kept = key.reseeded(turn).uniform("dropout", (12,), dtype=torch.float64) >= 0.5
        draws.append(softmax((inside * kept * 2 @ weight.T + bias).numpy(), axis=1))
    square, mean = np.mean([(p * p).sum(1) for p in draws], axis=0), np.mean(draws, axis=0)
    assert ours.numpy() == pytest.approx(square - (mean * mean).sum(1), abs=1e-12)
    assert float(ours.min()) > 0


def test_feature_squeezing_is_its_formula(task, fitted):
    images = task.validation[:6]
    with torch.no_grad():
        plain = task.net(images).softmax(1)
        coarse = task.net(images.round()).softmax(1)
    f = fitted["feature-squeezing"]
    median = f.squeezers[1](images, Key(torch.arange(6), 0))
    with torch.no_grad():
        smooth = task.net(median).softmax(1)
    theirs = torch.maximum((plain - coarse).abs().sum(1), (plain - smooth).abs().sum(1))
    torch.testing.assert_close(f.score(images), theirs, rtol=1e-12, atol=1e-12)


def test_magnet_is_its_formula(task, fitted):
    f, images = fitted["magnet"], task.validation[:6]
    with torch.no_grad():
        restored = f.net(images)
        a, b = task.net(images).numpy(), task.net(restored).numpy()
    off = (images - restored).flatten(1)
    columns = [off.abs().mean(1).numpy(), off.square().mean(1).numpy()]
    for t in (10, 40):
        pairs = zip(softmax(a / t, 1), softmax(b / t, 1), strict=True)
        columns.append([jensenshannon(p, q) ** 2 for p, q in pairs])
    scaled = (np.stack(columns, 1) - f.center.numpy()) / f.scale.numpy()
    assert f.score(images).numpy() == pytest.approx(scaled.max(1), rel=1e-9)


def test_divergence_of_saturated_answers():
    """ln 2 where the answers have nothing in common, also where float32 makes their softmaxes 0 and 1."""
    a, b = torch.tensor([[500.0, 0.0]]), torch.tensor([[0.0, 500.0]])
    assert float(jensen_shannon(a, b)) == pytest.approx(np.log(2), rel=1e-6)
    assert float(jensen_shannon(a, a)) == pytest.approx(0, abs=1e-7)


def test_residual_is_that_of_principal_components():
    known, asked = draw("known", (40, 6)) * torch.arange(1, 7), draw("asked", (5, 6))
    center, directions = principal_directions(known, 0.8)
    pca = PCA(directions.shape[1]).fit(known.numpy())
    left = asked.numpy() - pca.inverse_transform(pca.transform(asked.numpy()))
    assert log_residual(asked, center, directions).numpy() == pytest.approx(
        np.log(np.linalg.norm(left, axis=1)), abs=1e-9
    )
    assert pca.explained_variance_ratio_.sum() > 0.8


def test_the_scale_of_a_subspace_is_that_of_images_it_was_found_without():
    """Few images: what they leave outside a subspace that they span themselves says nothing of others."""
    known, fresh = draw("known", (20, 30)), draw("fresh", (500, 30))
    unseen = Subspace(n_splits=10)._unseen(known, torch.arange(20) % 10).mean()
    own, others = (float(log_residual(each, *principal_directions(known, 0.9)).mean()) for each in (known, fresh))
    assert own < others - 0.2
    assert float(unseen) == pytest.approx(others, abs=0.1)


def test_extra_class_score_is_the_lead_of_the_extra_logit(task, fitted):
    f = fitted["extra-class"]
    with torch.no_grad():
        logits = f.net(task.validation)
        view = f.classifier(task.validation)
    assert logits.shape == (120, 4)
    torch.testing.assert_close(f.score(task.validation), logits[:, 3] - logits[:, :3].amax(1))
    torch.testing.assert_close(view, logits[:, :3])


def test_binary_networks_score_their_logit(task, fitted):
    with torch.no_grad():
        torch.testing.assert_close(fitted["input"].score(task.validation), fitted["input"].net(task.validation))
        hidden = torch.tanh(task.net[:6](task.validation))[:, :]
        _, (features,) = activations(task.target, task.validation, ("5",), flatten_units)
        theirs = fitted["feature of rank 2"].net(features)
    assert hidden.shape == features.shape
    torch.testing.assert_close(fitted["feature of rank 2"].score(task.validation), theirs)


def test_the_readout_is_what_scikit_learn_says_of_the_features(task, fitted):
    """The whole chain of LID: features, regression, score, against probabilities of scikit-learn."""
    f = fitted["mahalanobis"]
    gaussians = Gaussians(f.layers, f.means, f.whiteners)
    with torch.no_grad():
        harmless = gaussians.distances(task.target, task.clean, 0.0).numpy()
        adversarial = gaussians.distances(task.target, task.made.fooling_examples, 0.0).numpy()
        asked = gaussians.distances(task.target, task.validation, 0.0).numpy()
    both = np.concatenate((harmless, adversarial))
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit((both - both.mean(0)) / both.std(0), [0] * len(harmless) + [1] * len(adversarial))
    theirs = model.decision_function((asked - both.mean(0)) / both.std(0))
    assert f.score(task.validation).numpy() == pytest.approx(theirs, rel=1e-6)


def test_layers_by_default_are_all_leaves_but_those_that_hand_on(task):
    assert default_layers(task.target, task.clean) == ("0", "1", "2", "3", "5", "6", "7")


def test_errors_without_temperatures_ask_the_model_nothing(task, fitted):
    net = fitted["magnet"].net
    with torch.no_grad():
        assert reconstruction_errors(None, net, (), task.clean[:3]).shape == (3, 2)


def test_a_density_alone_is_not_random(fitted):
    f = fitted["kernel-density"]
    assert f.stochastic
    assert not replace(f, n_samples=0).stochastic


def test_logsumexp_of_no_own_point_is_minus_infinity():
    x = draw("far", (1, 2))
    assert float(log_density(x, x, torch.zeros(1, 1, dtype=torch.bool), 1.0)) != logsumexp([0.0])
