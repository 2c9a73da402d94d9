"""What the comparisons with PyTorch share: networks from a specification, the environment for a fair run, the benchmarks' document."""

import os
import re
import statistics

NAMED_NETWORKS = {
    "mini": "32,M,64,M,128,M,128,M,F256",
    "linear": "",
    "scaling": "64,M,128,M,256,256,M,512,512,M,512,512,M,F4096,F4096",
    "vgg16": "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F4096,F4096",
    "deepimage": "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F6144,F6144",
}

# glibc gives large blocks back to the system when they are freed, and each training step then pays for mapping them anew.
# Keeping them makes PyTorch's step up to 1.3 times faster: the fair opponent.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_TOP_PAD_": str(256 << 20),
}


def pytorch_environment(threads):
    """The environment of a process that runs PyTorch's side."""
    count = str(threads)
    return {**os.environ, **KEEP_FREED_MEMORY, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}


def build_network(specification, image_size, classes, dropout):
    """The specification's network in PyTorch: He initialisation (normal, fan-in), N(0, 0.01²) for the last layer, biases 0."""
    from torch import nn

    layers = []
    channels, size, features = 3, image_size, None
    for token in filter(None, NAMED_NETWORKS.get(specification, specification).split(",")):
        if token == "M":
            layers.append(nn.MaxPool2d(2))
            size //= 2
        elif token.startswith("F"):
            if features is None:
                layers.append(nn.Flatten())
                features = channels * size * size
            units = int(token[1:])
            layers += [nn.Linear(features, units), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            features = units
        else:
            filters = int(token)
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
    if features is None:
        layers.append(nn.Flatten())
        features = channels * size * size
    layers.append(nn.Linear(features, classes))
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    nn.init.normal_(layers[-1].weight, std=0.01)
    return nn.Sequential(*layers)


def build_optimizer(network, learning_rate, momentum, weight_decay):
    """Stochastic gradient descent with weight decay on weights, not on biases; the fused update, which is PyTorch's fastest."""
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
    """Puts `body` between the markers of section `name` in a Markdown document; adds the section at its end where it is missing."""
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
        raise SystemExit(f"{path}: found one of the markers '{begin}' and '{end}', expected both or none; mend the document")
    else:
        text = f"{text.rstrip()}\n\n## {title}\n\n{begin}\n{body}\n{end}\n"
    temporary = path + ".partial"
    with open(temporary, "w") as file:
        file.write(text)
    os.replace(temporary, path)
