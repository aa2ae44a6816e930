#!/usr/bin/env python3
"""Puts libtorch into ./libtorch, where .cargo/config.toml tells cargo to look for it. `make setup`
runs this.

    make setup                                       downloads it with pip, 545 MB, once
    make setup TORCH=/path/to/python                 uses the PyTorch that this Python has
    make setup TORCH=/path/to/site-packages/torch    uses the PyTorch (or the unpacked libtorch) in this folder

Only the CPU part is put there, also where PyTorch has CUDA. So one binary links nothing of CUDA; at
start it loads libtorch_cuda.so if there is one beside the libtorch_cpu.so that it runs with
(torch/src/cuda.rs).

Everything is prepared in ./libtorch.part and renamed to ./libtorch at the end. An interrupted run
leaves nothing half made, and the next one continues with the wheels that had arrived. Needs Python
3.8 and pip, nothing else.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBTORCH = ROOT / "libtorch"
PART = ROOT / "libtorch.part"
STAMP = "stamp.json"

VERSION = "2.11.0"  # what the pinned tch is written for

# libtorch_cpu.so of this wheel itself needs the two NVIDIA libraries, with or without a GPU.
WHEELS = [
    ("torch", VERSION, "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
     "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a"),
    ("nvidia-cuda-runtime", "13.0.96",
     "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
     "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
    ("nvidia-cuda-cupti", "13.0.85", "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
     "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
]
WANTED = re.compile(
    r"torch/(include/.+[^/])"
    r"|torch/(lib/(?:libtorch_cpu\.so|libc10\.so|libgomp\.so\.1))"
    r"|nvidia/cu13/(lib/(?:libcudart\.so\.13|libcupti\.so\.13))")
ROOM = 1_200_000_000  # bytes: the wheels, and beside them either pip's own copy of one or what is unpacked

INSTEAD = "or name an installed PyTorch 2.11: make setup TORCH=/path/to/python"


class Stop(Exception):
    """What went wrong and what to do about it, in one line."""


def main():
    check_machine()
    torch = torch_named(arguments().torch)
    if not work_to_do(torch):
        return
    with one_at_a_time():
        why = work_to_do(torch)
        if not why:  # another run did it while this one waited
            return
        say(why)
        new = empty_folder(PART / "new")
        if torch:
            say("linking to the PyTorch in {}".format(torch))
            link_to(torch, new)
        else:
            check_room()
            wheels = [fetch(*wheel) for wheel in WHEELS]
            unpack(wheels, new)
        finish(new, torch)
        check_loads(new)
        put_in_place(new)
    say("ready in ./libtorch")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PATH", default=os.environ.get("TORCH"),
                        help="a Python that has PyTorch 2.11, or the folder of one (default: $TORCH)")
    return parser.parse_args()


def check_machine():
    if sys.version_info < (3, 8):
        raise Stop("Python {} is too old: 3.8 or newer is needed (make setup PYTHON=python3.x)".format(
            platform.python_version()))
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Stop("this machine is {} {}: gauntlet builds on Linux x86-64 only".format(
            platform.system(), platform.machine()))


# What is already there ------------------------------------------------------------------------------------------------

def work_to_do(torch):
    """Why ./libtorch cannot be used as it is, None if it can; exits if it is not this script's to
    replace."""
    if not os.path.lexists(LIBTORCH):
        return "version {} goes to ./libtorch".format(VERSION)
    try:
        stamp = json.loads((LIBTORCH / STAMP).read_text())
    except FileNotFoundError:
        return leave_alone(torch)
    except ValueError:
        return "./libtorch is damaged ({} is not as it was): making it again".format(STAMP)
    if torch and stamp["torch"] != str(torch):
        return "./libtorch is another one than the one named: making it again"
    if not stamp["torch"] and stamp["wheels"] != checksums():
        return "./libtorch is of another version: making it again"
    changed = first_difference(stamp["files"], contents(LIBTORCH))
    if changed and stamp["torch"]:
        return "{}, to which ./libtorch links, has changed ({}): making it again".format(stamp["torch"], changed)
    if changed:
        return "./libtorch is damaged ({} is not as it was): making it again".format(changed)
    return None


def leave_alone(torch):
    """A folder that a user put there is used as it is, if it can be."""
    whole = (LIBTORCH / "include/torch").is_dir() and (LIBTORCH / "lib/libtorch_cpu.so").is_file()
    if torch or not whole or version_of(LIBTORCH) not in (VERSION, None):
        raise Stop("./libtorch was not made by `make setup`{}: move it away, then run `make setup` again".format(
            "" if torch else " and is not libtorch " + VERSION))


def contents(folder):
    """Size of each file by its path; links are followed, so a PyTorch that was upgraded or removed
    shows too."""
    sizes = {}
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = os.path.join(parent, name)
            sizes[os.path.relpath(path, folder)] = os.stat(path).st_size if os.path.exists(path) else None
    sizes.pop(STAMP, None)
    return sizes


def first_difference(expected, found):
    for path in sorted(set(expected) | set(found)):
        if expected.get(path) != found.get(path):
            return path
    return None


# From wheels ----------------------------------------------------------------------------------------------------------

def check_room():
    needed = ROOM - sum(wheel.stat().st_size for wheel in PART.glob("wheels/*"))
    free = shutil.disk_usage(ROOT).free
    if free < needed:
        raise Stop("{:.1f} GB are free in {}, {:.1f} GB are needed: make room".format(free / 1e9, ROOT, needed / 1e9))


def fetch(name, version, file, sha256):
    """The wheel, downloaded by pip unless an earlier run already did."""
    wheel = PART / "wheels" / file
    if wheel.exists() and checksum(wheel) == sha256:
        say("{} {} is here already".format(name, version))
        return wheel
    platform_tag = file[:-len(".whl")].split("-")[-1].split(".")[0]
    download(name, version, platform_tag, empty_folder(PART / "arriving"))
    arrived = PART / "arriving" / file
    if not arrived.exists():
        raise Stop("pip did not bring {}: is it set to an unusual package index? Reset that, {}".format(file, INSTEAD))
    found = checksum(arrived)
    if found != sha256:
        raise Stop("{} has the SHA-256 {}, not {}: run `make setup` again; if that does not help, the package index "
                   "serves another file, so change it, {}".format(file, found, sha256, INSTEAD))
    wheel.parent.mkdir(exist_ok=True)
    arrived.replace(wheel)
    return wheel


def download(name, version, platform_tag, into):
    check_pip()
    say("downloading {} {}".format(name, version))
    # For Python 3.11 whatever this Python is: the same file comes everywhere. `===` keeps out
    # 2.11.0+cpu and the like.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
               "--disable-pip-version-check", "--python-version=3.11", "--implementation=cp", "--abi=cp311",
               "--platform=" + platform_tag, "--dest", str(into), "{}==={}".format(name, version)]
    # pip downloads into TMPDIR first, and /tmp is often a small disk in memory.
    environment = dict(os.environ, TMPDIR=str(empty_folder(PART / "tmp")))
    complaint = silence = ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, universal_newlines=True) as pip:
        for line in pip.stderr:
            if "Retrying" in line and not silence:
                silence = "the network does not answer"
                say(silence + ", pip tries again")
            complaint = line.strip() or complaint
    if pip.returncode != 0:
        raise Stop("pip could not download {} {} ({}): check network and disk, then run `make setup` again, {}".format(
            name, version, silence or complaint, INSTEAD))


def check_pip():
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run([sys.executable, "-m", "pip", "--version"], **quiet).returncode != 0:
        raise Stop("{} has no pip: install it (Debian, Ubuntu: apt install python3-pip; Fedora: dnf install "
                   "python3-pip), {}".format(sys.executable, INSTEAD))


def unpack(wheels, new):
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            wanted = [(member, WANTED.fullmatch(member.filename)) for member in archive.infolist()]
            wanted = [(member, match.group(match.lastindex)) for member, match in wanted if match]
            say("unpacking {} files, {:.0f} MB, of {}".format(
                len(wanted), sum(member.file_size for member, _ in wanted) / 1e6, wheel.name))
            for member, path in wanted:
                target = new / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, open(target, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)


# From an installed PyTorch --------------------------------------------------------------------------------------------

def torch_named(word):
    """The folder of the PyTorch in TORCH, given as a Python or as a folder; None if TORCH is not
    set."""
    if not word:
        return None
    path = Path(os.path.abspath(os.path.expanduser(word)))
    if not path.is_dir():
        path = torch_of_python(word if shutil.which(word) else str(path))
    path = path.resolve()
    if path == LIBTORCH:
        return None
    if not (path / "include/torch").is_dir() or not (path / "lib/libtorch_cpu.so").is_file():
        raise Stop("{} holds no PyTorch (include/torch and lib/libtorch_cpu.so): name its Python, or its folder "
                   "site-packages/torch".format(path))
    version = version_of(path)
    if version != VERSION:
        raise Stop("{} is PyTorch {}, and {} is needed: pip install torch=={}, or leave TORCH unset".format(
            path, version, VERSION, VERSION))
    return path


def torch_of_python(python):
    # Finding the module does not run it: importing torch would take seconds.
    where = "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    try:
        run = subprocess.run([python, "-c", where], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             universal_newlines=True)
    except OSError as error:
        raise Stop("TORCH={} is neither a folder nor a Python that runs ({})".format(python, error.strerror))
    if run.returncode != 0:
        raise Stop("{} has no PyTorch: {} -m pip install torch=={}, or leave TORCH unset".format(
            python, python, VERSION))
    return Path(run.stdout.strip())


def version_of(torch):
    """From the texts that PyTorch (version.py) and libtorch (build-version) carry, without the
    +cu130 and the like."""
    for file, pattern in (("version.py", r"__version__ = '([^'+]+)"), ("build-version", r"([^\s+]+)")):
        if (torch / file).is_file():
            match = re.search(pattern, (torch / file).read_text())
            return match.group(1) if match else None
    return None


def link_to(torch, new):
    """Links to the headers, to libtorch_cpu.so and to all it needs that does not come with the
    system.

    The loader resolves a library's dependencies beside its link, not beside its target. So each one
    gets its own link here. The loader itself tells where they are, for the real library.
    """
    (new / "include").symlink_to(torch / "include")
    (new / "lib").mkdir()
    real = (torch / "lib/libtorch_cpu.so").resolve()
    libraries = {real.name: real}
    ldd = subprocess.run(["ldd", str(real)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    for name, path in re.findall(r"^\s*(\S+) => (not found|/\S.*?)(?: \(0x\w+\))?$", ldd.stdout, re.M):
        if path == "not found":
            raise Stop("the PyTorch in {} is not whole, {} is missing: install it again with its dependencies".format(
                torch, name))
        if not path.startswith(("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")):
            libraries[name] = Path(path).resolve()
    for name, path in libraries.items():
        (new / "lib" / name).symlink_to(path)


# Common to both -------------------------------------------------------------------------------------------------------

def finish(new, torch):
    # torch-sys links a libtorch.so too; PyTorch's own would bring in all of CUDA.
    (new / "lib/libtorch.so").write_text("INPUT(-ltorch_cpu)\n")
    (new / "build-version").write_text(VERSION + "\n")
    stamp = {"torch": str(torch) if torch else None, "wheels": None if torch else checksums(), "files": contents(new)}
    (new / STAMP).write_text(json.dumps(stamp, indent=0, sort_keys=True))


def check_loads(new):
    load = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", load, str(new / "lib/libtorch_cpu.so")], stderr=subprocess.PIPE,
                         universal_newlines=True)
    if run.returncode != 0:
        why = (run.stderr.strip().splitlines() or ["it crashed"])[-1]
        raise Stop("this system cannot load libtorch ({}): it needs glibc 2.28 and libstdc++ of GCC 8 or newer, "
                   "{}".format(why, INSTEAD))


def put_in_place(new):
    if os.path.lexists(LIBTORCH):
        os.rename(LIBTORCH, PART / "old")
    os.rename(new, LIBTORCH)
    shutil.rmtree(PART)


# Small things ---------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def one_at_a_time():
    """Waits until no other run is active, here or in another terminal."""
    PART.mkdir(exist_ok=True)
    (PART / ".gitignore").write_text("*\n")
    with open(PART / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run of `make setup` is at work, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def empty_folder(path):
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def checksum(file):
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def checksums():
    return {file: sha256 for _, _, file, sha256 in WHEELS}


def say(text):
    print("libtorch: " + text, flush=True)


def reason(error):
    if error.errno == errno.ENOSPC:
        return "the disk is full: make room, then run `make setup` again"
    return "{}: {}".format(error.filename or "input or output", error.strerror)


if __name__ == "__main__":
    try:
        main()
    except Stop as stop:
        sys.exit("make setup: {}".format(stop))
    except OSError as error:
        sys.exit("make setup: {}".format(reason(error)))
    except KeyboardInterrupt:
        sys.exit("make setup: interrupted; run it again to go on")
