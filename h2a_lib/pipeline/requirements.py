"""What an environment that somebody else has set up lacks of the package's requirements.

Kaggle and Colab bring a PyTorch that fits their GPU, and the kernel that a notebook runs in: these
must stay. Imports the standard library and `packaging` alone, as nothing else may be there yet.
"""

from importlib import metadata

from packaging.requirements import Requirement

# Kept in the version that is installed, even one that is older than the package asks for.
KEPT = frozenset({"torch", "torchvision", "jupyterlab", "ipykernel", "ipywidgets"})


def to_install() -> list[str]:
    """Return what `pip install` must be given, once the package is there without dependencies.

    The requirements that are missing or have another version than asked for, and the installed
    versions of what is kept: "torch==2.9.0", so that no dependency of the others replaces it. A
    PackageNotFoundError if the package itself is not installed.
    """
    wanted = []
    for requirement in map(Requirement, metadata.requires("h2a_lib") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wanted.append(f"{requirement.name}{requirement.specifier}")
            continue
        if requirement.name in KEPT:
            wanted.append(f"{requirement.name}=={installed}")
        elif not requirement.specifier.contains(installed, prereleases=True):
            wanted.append(f"{requirement.name}{requirement.specifier}")
    return wanted
