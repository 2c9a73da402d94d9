"""Shared code of the comparisons with PyTorch: networks, the environment for a fair run, Markdown tables."""

import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile

# By default glibc returns large freed blocks to the system, and each training step maps them again. Keeping
# them makes PyTorch's step up to 1.3 times faster, so the comparison is fair.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_TOP_PAD_": str(256 << 20),
}


def pytorch_environment(threads):
    """The environment of a process that runs PyTorch's side."""
    count = str(threads)
    threads = {name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **KEEP_FREED_MEMORY, **threads}


def plan_layers(trainer, model, image_size, classes, environment=None):
    """The layers of a named or specified network, from `trainer plan`. The last one gives the scores."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "plan.json")
        sizes = ["--image-size", str(image_size), "--classes", str(classes)]
        try:
            result = subprocess.run(
                [trainer, "plan", "--model", model, *sizes, "--json", path],
                capture_output=True,
                text=True,
                env=environment,
            )
        except FileNotFoundError:
            sys.exit(f"{trainer} does not exist; run `swift build -c release` or give --trainer")
        if result.returncode != 0:
            sys.exit(result.stderr)
        with open(path) as file:
            return json.load(file)["layers"]


def scale_units(network, images):
    """Scales hidden units as `train` does: sums over some images have mean 0 and deviation 1."""
    import torch
    from torch import nn

    layers = [module for module in network if isinstance(module, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        values = images
        for module in network:
            if module is layers[-1]:
                break
            if module in layers:
                sums = module(values)
                dimensions = (0, 2, 3) if sums.dim() == 4 else (0,)
                deviation = sums.std(dimensions, correction=0)
                factors = torch.where(deviation > 1e-3, 1 / deviation, torch.ones_like(deviation))
                module.bias.copy_(-sums.mean(dimensions) * factors)
                module.weight.mul_(factors.view(-1, *[1] * (module.weight.dim() - 1)))
            if not isinstance(module, nn.Dropout):
                values = module(values)


def build_network(layers, dropout):
    """The layers in PyTorch: He initialisation, N(0, 0.01²) for the last layer, biases 0."""
    from torch import nn

    modules = []
    for layer in layers:
        channels, outputs = layer["input"][2], layer["output"][2]
        if layer["kind"] == "convolution":
            modules += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        elif layer["kind"] == "max_pooling":
            modules.append(nn.MaxPool2d(2))
        elif layer["kind"] == "fully_connected":
            if not any(isinstance(module, nn.Flatten) for module in modules):
                modules.append(nn.Flatten())
            modules += [nn.Linear(math.prod(layer["input"]), outputs), nn.ReLU(inplace=True)]
        elif layer["kind"] == "dropout":
            modules.append(nn.Dropout(dropout))
        else:
            sys.exit(f"a layer of the kind '{layer['kind']}': this comparison does not know it")
    modules.pop()  # The class scores have no ReLU.
    for module in modules:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    nn.init.normal_(modules[-1].weight, std=0.01)
    return nn.Sequential(*modules)


def build_optimizer(network, learning_rate, momentum, weight_decay):
    """SGD with weight decay on weights, not on biases, and the fused update, which is PyTorch's fastest."""
    import torch

    weights = [parameter for name, parameter in network.named_parameters() if name.endswith("weight")]
    biases = [parameter for name, parameter in network.named_parameters() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, fused=True)


def processor_name():
    try:
        with open("/proc/cpuinfo") as file:
            names = re.findall(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
        return names[0].strip()
    except (OSError, IndexError):
        import platform

        return platform.processor() or platform.machine()


def mean_and_deviation(values):
    """Mean and sample deviation; the deviation of a single value is not known."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def write_section(path, name, title, body):
    """Puts `body` between the markers of section `name` in a Markdown document, or adds the section."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    try:
        with open(path) as file:
            text = file.read()
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        text = "# Benchmarks\n"
    if begin in text and end in text.split(begin, 1)[1]:
        before, rest = text.split(begin, 1)
        after = rest.split(end, 1)[1]
        text = f"{before}{begin}\n{body}\n{end}{after}"
    elif begin in text or end in text:
        raise SystemExit(f"{path}: found one of the markers '{begin}' and '{end}', expected both or none")
    else:
        text = f"{text.rstrip()}\n\n## {title}\n\n{begin}\n{body}\n{end}\n"
    temporary = path + ".partial"
    with open(temporary, "w") as file:
        file.write(text)
    os.replace(temporary, path)
