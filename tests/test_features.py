"""Images to features: by name and version, streamed, kept on disk, with a person's own weights."""

from __future__ import annotations

import hashlib
import logging
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet50

from medgan_widgets.errors import DataError, DeviceMemoryError, DownloadError, WeightsError
from medgan_widgets.features import (
    CANONICAL,
    DINOV2,
    INCEPTION,
    PHANTOM_CNN,
    RADIMAGENET,
    Extractor,
    canonical_names,
    clear_cache,
    extraction,
    extractor_name,
    extractors,
    feature_batches,
    features_from_images,
    fetch_weights,
    weights,
)
from medgan_widgets.metrics import frechet_distance
from medgan_widgets.phantoms import draw_phantoms

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def brains():
    return draw_phantoms("brain_mri", range(150), size=64).images


def made(images, extractor=CANONICAL, **about):
    return features_from_images(images, extractor, cache=False, **about)


# ---------------------------------------------------------------- what they tell apart


@pytest.mark.parametrize("extractor", [CANONICAL, PHANTOM_CNN])
def test_phantoms_noise_and_kinds_are_told_apart(brains, extractor):
    others = draw_phantoms("brain_mri", range(500, 650), size=64).images
    chests = draw_phantoms("chest_xray", range(150), size=64).images
    noise = RANDOM.integers(0, 256, (150, 64, 64), dtype=np.uint8)
    real = made(brains, extractor)
    floor = frechet_distance(real, made(others, extractor))
    assert frechet_distance(real, made(chests, extractor)) > 5 * floor
    assert frechet_distance(real, made(noise, extractor)) > 5 * floor


def test_every_canonical_column_has_a_name_and_moves_with_what_it_names(brains):
    plain = dict(zip(canonical_names(), made(brains).mean(axis=0), strict=True))

    def changed(images):
        return dict(zip(canonical_names(), made(images).mean(axis=0), strict=True))

    assert changed(np.minimum(brains, 200) + 40)["mean"] > plain["mean"]
    rough = np.clip(brains.astype(int) + RANDOM.integers(-40, 41, brains.shape), 0, 255)
    grainy = changed(rough.astype(np.uint8))
    assert grainy["contrast_1"] > plain["contrast_1"]
    assert grainy["power_12"] > plain["power_12"]
    half = brains.copy()
    half[:, :, :32] = 0
    assert changed(half)["left_right"] < plain["left_right"]
    assert changed(half)["across"] > plain["across"], "the weight lies to the right"


# ---------------------------------------------------------------- how they are read


@pytest.mark.parametrize("extractor", [CANONICAL, PHANTOM_CNN])
def test_features_do_not_depend_on_how_images_come(brains, extractor):
    whole = made(brains[:10], extractor)
    parts = made(iter([brains[:3], brains[3:10, ..., None]]), extractor)
    np.testing.assert_allclose(whole, parts, atol=1e-4)


def test_grey_colour_transparent_and_sixteen_bits_of_one_picture_agree(brains):
    some = brains[:4]
    rgb = np.repeat(some[..., None], 3, axis=3)
    rgba = np.concatenate([rgb, np.full((*some.shape, 1), 9, np.uint8)], axis=3)
    deep = some.astype(np.uint16) * 257
    for same in (rgb, rgba, deep):
        np.testing.assert_allclose(made(same), made(some), atol=1e-4)


def test_sizes_may_differ_from_batch_to_batch(brains):
    larger = draw_phantoms("brain_mri", range(3), size=96).images
    assert made([brains[:2], larger]).shape == (5, len(canonical_names()))


def test_memory_does_not_grow_with_the_stream(brains):
    given, most = [], 0

    def stream():
        nonlocal most
        for _ in range(30):
            batch = brains[:8].copy()
            given.append(weakref.ref(batch))
            yield batch
            del batch
            most = max(most, sum(one() is not None for one in given))

    assert sum(map(len, feature_batches(stream(), PHANTOM_CNN, cache=False))) == 240
    assert most <= 2, "a batch is let go once it was looked at"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (5, "batches of them"),
        ("abc", "batches of them"),
        ([[1, 2]], "got list"),
        (np.zeros((1, 8, 8)), r"got float64 \(1, 8, 8\); scale them to whole grey levels"),
        (np.array(3, np.uint8), "must be uint8"),
        (np.zeros((2, 8, 8, 2), np.uint8), "must be uint8"),
        (np.zeros((0, 8, 8), np.uint8), "no pixels"),
        (iter(()), "no images"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(bad, message):
    with pytest.raises(DataError, match=message):
        made(bad)


# ---------------------------------------------------------------- a module of one's own


class Means(nn.Module):
    def __init__(self, answer="rows"):
        super().__init__()
        self.norm, self.answer = nn.BatchNorm2d(1), answer

    def forward(self, x):
        assert (x.ndim, x.shape[1]) == (4, 1)
        assert 0.5 < x.max() <= 1
        if self.answer == "full":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        rows = self.norm(x).mean(dim=(2, 3)).repeat(1, 5)
        answers = {
            "rows": rows, "planes": rows[..., None, None], "one": (rows,), "text": "no",
            "flat": rows[:, 0], "none": rows[:, :0], "full": None, "fewer": rows[1:],
            "nan": rows / 0 - rows / 0,
        }  # fmt: skip
        return answers[self.answer]


@pytest.mark.parametrize("answer", ["rows", "planes", "one"])
def test_any_module_that_answers_rows_is_an_extractor(brains, answer):
    mine = Means(answer)
    rows = made(brains[:3], mine)
    assert rows.shape == (3, 5)
    assert mine.training, "and it stays in the mode it was in"
    assert mine.norm.num_batches_tracked == 0, "looking taught it nothing"


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("text", WeightsError, "answer a tensor"),
        ("flat", WeightsError, r"\[3, D\], got \(3,\)"),
        ("fewer", WeightsError, r"got \(2, 5\)"),
        ("none", WeightsError, r"got \(3, 0\)"),
        ("nan", DataError, "not finite for 3 of 3 images"),
        ("full", DeviceMemoryError, "cpu has no room for 3 images in Means-"),
    ],
)
def test_a_module_that_answers_something_else_is_told(brains, answer, error, message):
    with pytest.raises(error, match=message):
        made(brains[:3], Means(answer))


@pytest.mark.parametrize(
    ("error", "told"), [(KeyError("foo"), "KeyError: 'foo'"), (AssertionError(), "AssertionError;")]
)
def test_a_module_that_raises_is_named(brains, error, told):
    class Odd(nn.Module):
        def forward(self, planes):
            raise error

    with pytest.raises(WeightsError, match=f"^Odd-.* cannot look .* {told}"):
        made(brains[:2], Odd())


def test_a_module_that_wants_other_images_is_wrapped(brains):
    wants = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    with pytest.raises(WeightsError, match="wrap it in an Extractor"):
        made(brains[:2], wants)
    wrapped = Extractor("mine-1", "to 16", "rgb", size=16, module=wants)
    assert made(brains[:2], wrapped).shape == (2, 4)
    assert extractor_name(wrapped) == "mine-1"


def test_a_module_that_answers_wider_rows_for_other_sizes_is_told(brains):
    larger = draw_phantoms("brain_mri", range(2), size=96).images
    with pytest.raises(WeightsError, match="4096 features for some images and 9216 for others"):
        made([brains[:2], larger], nn.Flatten())


def test_a_name_means_one_thing(brains):
    with pytest.raises(WeightsError, match="name of a known extractor"):
        made(brains[:1], Extractor(INCEPTION, "none", "grey", module=nn.Flatten()))
    with pytest.raises(WeightsError, match="has no module"):
        made(brains[:1], Extractor(CANONICAL, "to 32", "grey", size=32))
    with pytest.raises(WeightsError, match="takes no weights"):
        made(brains[:1], nn.Flatten(), weights="some.pth")
    with pytest.raises(WeightsError, match="run it once first"):
        made(brains[:1], nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"name": ""}, "must have a name"),
        ({"colours": "blue"}, "one of grey, rgb, as they are; got 'blue'"),
        ({"size": 0}, "a whole number of pixels from 1, or None; got 0"),
        ({"size": "3"}, "a whole number of pixels from 1, or None; got '3'"),
        ({"size": 3.5}, "a whole number of pixels"),
    ],
)
def test_an_extractor_that_cannot_be_is_refused_at_once(about, message):
    with pytest.raises(WeightsError, match=message):
        Extractor(**{"name": "mine-1", "resizing": "none", "colours": "grey", **about})


def test_other_weights_are_another_name():
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    assert extractor_name(one) != extractor_name(two)
    two.load_state_dict(one.state_dict())
    assert extractor_name(one) == extractor_name(two)
    for module, shift in ((one, 0.0), (two, 1.0)):  # what is not saved counts as well
        module.register_buffer("shift", torch.tensor([shift]), persistent=False)
    assert extractor_name(one) != extractor_name(two)


# ---------------------------------------------------------------- kept on disk


@pytest.fixture
def counted(monkeypatch):
    """How many images an extractor has really looked at."""
    looked = []
    real = extraction.RunningExtractor.__call__

    def look(self, images):
        looked.append(len(images))
        return real(self, images)

    monkeypatch.setattr(extraction.RunningExtractor, "__call__", look)
    return looked


def test_features_are_made_once_for_the_same_pixels(brains, tmp_path, counted):
    first = features_from_images(brains[:70], cache=tmp_path)
    again = features_from_images(brains[:70].copy(), cache=tmp_path)
    assert counted == [64, 6]
    assert np.array_equal(first, again)
    features_from_images(brains[:70], PHANTOM_CNN, cache=tmp_path)
    other = brains[:70].copy()
    other[3, 5, 5] ^= 1
    features_from_images(other, cache=tmp_path)
    assert counted[2:] == [64, 6, 64], "the part that did not change is known"


def test_an_extractor_of_another_size_finds_nothing_of_the_first(brains, tmp_path):
    for size in (8, 16):
        mine = Extractor("mine-1", "bilinear", "grey", size=size, module=nn.Flatten())
        rows = features_from_images(brains[:3], mine, cache=tmp_path)
        assert rows.shape == (3, size * size)


def test_a_bare_modules_features_are_kept_only_when_asked(brains, tmp_path, counted):
    flatten = nn.Flatten()
    for cache, looked in ((None, [3, 3]), (tmp_path, [3])):
        counted.clear()
        features_from_images(brains[:3], flatten, cache=cache)
        features_from_images(brains[:3], flatten, cache=cache)
        assert counted == looked


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_what_is_damaged_or_of_another_kind_is_made_again(brains, tmp_path, damage):
    right = features_from_images(brains[:5], cache=tmp_path)
    (file,) = tmp_path.rglob("*.npy")
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-9], "empty": b"", "foreign": b"something else"}[damage])
    assert np.array_equal(features_from_images(brains[:5], cache=tmp_path), right)
    assert file.read_bytes() == data


def test_a_full_disk_costs_time_and_nothing_else(brains, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        rows = features_from_images(brains[:70], PHANTOM_CNN, cache=blocked / "inside")
    assert np.array_equal(rows, made(brains[:70], PHANTOM_CNN))
    assert "features are not kept" in caplog.text


def test_all_can_be_cleared(brains, tmp_path):
    features_from_images(brains[:5], cache=tmp_path)
    (tmp_path / "mine.txt").write_text("stays")
    clear_cache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# ---------------------------------------------------------------- published weights


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", [INCEPTION, RADIMAGENET, DINOV2])
def test_missing_weights_are_told_with_their_place_and_size(brains, name, tmp_path):
    source = extractors()[name].needs
    with pytest.raises(WeightsError) as caught:
        made(brains[:1], name)
    for part in (name, source.file, f"{source.megabytes} MB", source.where, "weights="):
        assert part in str(caught.value)
    with pytest.raises(WeightsError, match="are not in"):
        made(brains[:1], name, weights=tmp_path / "gone.pth")


@pytest.mark.parametrize("name", [RADIMAGENET, DINOV2])
def test_a_file_of_something_else_is_refused_and_its_code_never_runs(brains, name, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "code"))

    for number, content in enumerate([{"a": torch.zeros(1)}, [1, 2], Evil()]):
        file = tmp_path / f"{number}.pth"
        torch.save(content, file)
        with pytest.raises(WeightsError, match=r"fit|weights"):
            made(brains[:1], name, weights=file)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        made(brains[:1], name, weights=tmp_path / "text.pth")
    assert not (tmp_path / "ran").exists()


def test_inception_of_another_hash_is_refused(brains, tmp_path):
    file = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    file.write_bytes(b"other")
    with pytest.raises(WeightsError, match="not 6726825d"):
        made(brains[:1], INCEPTION, weights=file)


def test_inception_runs_torch_fidelitys_own_network(brains, tmp_path, monkeypatch):
    """With random weights of the published layout: the real ones cannot be had offline."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = theirs.FeatureExtractorInceptionV3("x", ["2048"])
    file = tmp_path / "inception.pth"
    torch.save(network.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    own = {**weights.SOURCES, INCEPTION: weights.Source(file.name, 91, None, digest[:8], "here")}
    monkeypatch.setattr(weights, "SOURCES", own)
    rows = made(brains[:2], INCEPTION, weights=file)
    eight = torch.from_numpy(brains[:2])[:, None].repeat(1, 3, 1, 1)
    (expected,) = network(eight)
    assert rows.shape == (2, 2048)
    np.testing.assert_allclose(rows, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["torchvision", "children"])
def test_radimagenet_is_a_resnet_under_either_name(brains, tmp_path, layout):
    torch.manual_seed(0)
    network = resnet50(weights=None)
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    if layout == "children":
        rows = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
        state = {
            f"backbone.{rows[k.partition('.')[0]]}.{k.partition('.')[2]}": v
            for k, v in state.items()
        }
    torch.save(state, tmp_path / "ResNet50.pt")
    found = made(brains[:2], RADIMAGENET, weights=tmp_path / "ResNet50.pt")
    network.fc = nn.Identity()
    planes = torch.from_numpy(brains[:2])[:, None].float() / 255
    large = nn.functional.interpolate(planes, (224, 224), mode="bilinear", antialias=True)
    expected = network.eval()((large.expand(-1, 3, -1, -1) - 0.5) / 0.5)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def published_dinov2():
    """Weights by the names and shapes of the published file, drawn at random."""
    shapes = {
        "cls_token": (1, 1, 384), "mask_token": (1, 384), "pos_embed": (1, 1370, 384),
        "patch_embed.proj.weight": (384, 3, 14, 14), "patch_embed.proj.bias": (384,),
        "norm.weight": (384,), "norm.bias": (384,),
    }  # fmt: skip
    for block in range(12):
        for name, (out, into) in {
            "attn.qkv": (1152, 384), "attn.proj": (384, 384),
            "mlp.fc1": (1536, 384), "mlp.fc2": (384, 1536),
        }.items():  # fmt: skip
            shapes |= {f"blocks.{block}.{name}.weight": (out, into)}
            shapes |= {f"blocks.{block}.{name}.bias": (out,)}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"blocks.{block}.{name}"] = (384,)
        shapes |= {f"blocks.{block}.{name}.gamma": (384,) for name in ("ls1", "ls2")}
    torch.manual_seed(0)
    return {name: torch.randn(shape) * 0.05 for name, shape in shapes.items()}


def dinov2_by_hand(state, images):
    """DINOv2 as its paper has it: each branch times a factor for each channel."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, (384,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = F.conv2d(images, weight, bias, stride=14).flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], dim=1)
    grid = state["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=16.1 / 37, mode="bicubic").flatten(2).transpose(1, 2)
    x = x + torch.cat([state["pos_embed"][:, :1], grid], dim=1)
    for name in (f"blocks.{block}" for block in range(12)):
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        q, k, v = qkv.reshape(*x.shape[:2], 3, 6, 64).permute(2, 0, 3, 1, 4)
        seen = ((q @ k.transpose(2, 3)) / 8).softmax(dim=3) @ v
        seen = seen.transpose(1, 2).flatten(2)
        x = x + state[f"{name}.ls1.gamma"] * linear(seen, f"{name}.attn.proj")
        wide = F.gelu(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        x = x + state[f"{name}.ls2.gamma"] * linear(wide, f"{name}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def test_dinov2_reads_the_published_layout_and_computes_what_its_paper_says(brains, tmp_path):
    state = published_dinov2()
    assert len(state) == 175, "as many tensors as the published file has"
    torch.save(state, tmp_path / "dinov2_vits14_pretrain.pth")
    rows = made(brains[:2], DINOV2, weights=tmp_path / "dinov2_vits14_pretrain.pth")
    planes = torch.from_numpy(brains[:2])[:, None].float() / 255
    large = F.interpolate(planes, (224, 224), mode="bilinear", antialias=True)
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    spread = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    expected = dinov2_by_hand(state, (large.expand(-1, 3, -1, -1) - mean) / spread)
    np.testing.assert_allclose(rows, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-4
    del state["blocks.7.ls2.gamma"]
    torch.save(state, tmp_path / "dinov2_vits14_pretrain.pth")
    with pytest.raises(WeightsError, match=r"does not fit dinov2-vits14-1: .*ls2"):
        made(brains[:2], DINOV2, weights=tmp_path / "dinov2_vits14_pretrain.pth")


def test_weights_are_fetched_on_request_checked_and_kept(tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    file = mirror / "dinov2_vits14_pretrain.pth"
    file.write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()
    with pytest.raises(DownloadError, match="not the expected file"):
        fetch_weights(DINOV2, sha256="0" * 64, mirror=mirror)
    kept = fetch_weights(DINOV2, sha256=digest, mirror=mirror)
    assert kept.read_bytes() == b"some weights"
    file.unlink()
    assert fetch_weights(DINOV2, sha256=digest, mirror=mirror) == kept, "once is enough"
    with pytest.raises(WeightsError, match="all 64 hexadecimal digits, got"):
        fetch_weights(DINOV2, sha256=digest[:1], mirror=mirror)
    with pytest.raises(WeightsError, match="come from its authors"):
        fetch_weights(RADIMAGENET)
    with pytest.raises(WeightsError, match="takes none"):
        fetch_weights(CANONICAL)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"extractor": "inception"}, "must be one of canonical-1"),
        ({"extractor": 5}, "got 5"),
        ({"weights": "some.pth"}, "takes no weights"),
        ({"device": "gpu9"}, "gpu9"),
    ],
)
def test_what_cannot_be_asked_is_told(brains, about, message):
    with pytest.raises(WeightsError, match=message):
        made(brains[:1], **about)


@pytest.mark.gpu
def test_on_a_gpu_the_features_are_the_same_within_rounding(brains):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and there is none here")
    here, there = (made(brains[:8], PHANTOM_CNN, device=one) for one in ("cpu", "cuda"))
    np.testing.assert_allclose(here, there, rtol=1e-2, atol=1e-2)
    mine = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 3))
    assert made(brains[:8], mine, device="cuda").shape == (8, 3)
    assert mine[1].weight.device.type == "cpu", "a copy went there"
