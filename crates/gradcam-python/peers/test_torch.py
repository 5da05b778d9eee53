"""Modules on the engine against torch: hooks, gradients, and what hooks do to both."""

import gc
import weakref

import pytest
import torch

import onnx_gradcam
from conftest import close
from onnx_gradcam.torch import ExportedModule, OnnxModule, from_torch

BOUND = 1e-5


def numpy(tensor):
    return tensor.detach().numpy()


def both(pair):
    return pair.torch, pair.file


def test_scores_activations_and_gradients_are_torchs(resnet):
    results = []
    for model in both(resnet):
        seen = {}

        def keep(name, output, seen=seen):
            seen[name] = output
            output.register_hook(lambda gradient: seen.__setitem__(f"gradient of {name}", gradient))

        handles = [
            model.get_submodule(name).register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
            for name in ("conv1", "layer1.0.conv2", "layer2", "layer3.1", "fc")
        ]
        x = resnet.x.clone().requires_grad_()
        scores = model(x)
        (scores[0, 3] - 2 * scores[1, 7]).backward()
        results.append({**seen, "scores": scores, "gradient": x.grad})
        for handle in handles:
            handle.remove()
    want, got = results
    assert got.keys() == want.keys()
    for name in want:
        close(numpy(got[name]), numpy(want[name]), BOUND)


def test_the_gradient_flows_through_the_code_of_hooks(resnet):
    mask = torch.rand(2, 128, 1, 1)
    results = []
    for model in both(resnet):
        inside = mask.clone().requires_grad_()
        replace = model.get_submodule("layer2").register_forward_hook(lambda _m, _i, o, inside=inside: (o * inside).abs())
        scale = model.get_submodule("layer3.0.conv2").register_forward_hook(
            lambda _m, _i, o: o.register_hook(lambda gradient: gradient * 0.5) and None
        )
        double = model.get_submodule("layer1.1").register_forward_pre_hook(lambda _m, i: (i[0] * 2,))
        x = resnet.x.clone().requires_grad_()
        model(x)[:, 5].sum().backward()
        results.append((numpy(inside.grad), numpy(x.grad)))
        for handle in (replace, scale, double):
            handle.remove()
    for want, got in zip(*results, strict=True):
        close(got, want, BOUND)


def test_a_value_inside_is_differentiated_without_the_scores(resnet):
    results = []
    for model in both(resnet):
        stored = []
        keep = lambda _module, _inputs, output, stored=stored: stored.append(output)
        handles = [model.get_submodule(name).register_forward_hook(keep) for name in ("layer1", "layer3")]
        x = resnet.x.clone().requires_grad_()
        scores = model(x)
        inner, outer = stored
        alone = torch.autograd.grad(outer.square().sum(), (x, inner), retain_graph=True)
        sums = torch.autograd.grad(scores[:, 2].sum() + inner.sum(), (x, outer), retain_graph=True)
        again = torch.autograd.grad(scores[:, 4].sum(), inner)
        results.append([*map(numpy, (*alone, *sums, *again))])
        for handle in handles:
            handle.remove()
    for want, got in zip(*results, strict=True):
        close(got, want, BOUND)


def test_backward_of_a_pass_after_another_one(resnet):
    results = []
    for model in both(resnet):
        handle = model.get_submodule("layer2").register_forward_hook(lambda _m, _i, output: output * 2)
        x = resnet.x.clone().requires_grad_()
        first = model(x)
        handle.remove()
        with torch.no_grad():
            model(resnet.x[:1])
        first[:, 1].sum().backward()
        results.append(numpy(x.grad))
    close(results[1], results[0], BOUND)


def test_a_module_in_the_place_of_another_is_called(resnet):
    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return gradient.clamp(min=0) * (x > 0)

    class Module(torch.nn.Module):
        def forward(self, x):
            return Guided.apply(x)

    results = []
    for model in both(resnet):
        held = model.relu
        model._modules["relu"] = Module()
        x = resnet.x.clone().requires_grad_()
        model(x)[:, 3].sum().backward()
        model._modules["relu"] = held
        results.append(numpy(x.grad))
    close(results[1], results[0], BOUND)


def test_backward_hooks_of_modules(resnet):
    results = []
    for model in both(resnet):
        seen = []
        layer = model.get_submodule("layer3.0.conv2")
        handles = [
            layer.register_full_backward_pre_hook(lambda _m, given: (given[0] * 3,)),
            layer.register_full_backward_hook(lambda _m, found, given, seen=seen: seen.extend((found[0], given[0]))),
        ]
        x = resnet.x.clone().requires_grad_()
        model(x)[:, 3].sum().backward()
        results.append([*map(numpy, (*seen, x.grad))])
        for handle in handles:
            handle.remove()
    assert len(results[1]) == 3
    for want, got in zip(*results, strict=True):
        close(got, want, BOUND)


def test_without_gradients_nothing_is_differentiated(resnet):
    seen = []
    handle = resnet.file.get_submodule("layer3").register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        scores = resnet.file(resnet.x)
    handle.remove()
    assert not scores.requires_grad
    assert not seen[0].requires_grad


def test_what_cannot_be_says_why(resnet):
    model, x = resnet.file, resnet.x
    with pytest.raises(TypeError, match=r"x\.float\(\)"):
        model(torch.zeros(1, 3, 64, 96, dtype=torch.int64))
    with pytest.raises(ValueError, match="meta"):
        model(torch.zeros(1, 3, 64, 96, device="meta"))
    with pytest.raises(NotImplementedError, match="call the OnnxModule"):
        model.layer1(x)
    with pytest.raises(IndexError, match="there are: 0, 1"):
        model.layer1[7]
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(y)[:, 3].sum(), y, create_graph=True)
    with pytest.raises(NotImplementedError, match="shapleycam"):
        gradient.sum().backward()


def test_a_hook_that_fails_fails_as_itself(resnet):
    def fail(_module, _inputs, _output):
        raise ZeroDivisionError

    with resnet.file.get_submodule("layer2").register_forward_hook(fail), pytest.raises(ZeroDivisionError):
        resnet.file(resnet.x)
    close(numpy(resnet.file(resnet.x)), numpy(resnet.torch(resnet.x)), BOUND)


def test_a_view_follows_the_weights():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    view, x = ExportedModule(model), torch.randn(3, 3, 8, 8)
    close(numpy(view(x)), numpy(model(x)), BOUND)
    runner = view._runner(x)
    assert view._runner(x) is runner, "exported once"
    with torch.no_grad():
        model[0].weight *= 2
    close(numpy(view(x)), numpy(model(x)), BOUND)
    assert view._runner(x) is not runner
    assert model.training, "an export leaves the mode of the model"


def test_from_torch_finds_layers_by_identity(resnet):
    model = resnet.torch
    explainer = from_torch(model, resnet.x, layers=[model.layer4[-1], "layer2.0"], method="gradcam")
    assert explainer.layers == ["layer4.1", "layer2.0"]
    with pytest.raises(ValueError, match="no module of the model"):
        from_torch(model, resnet.x, layers=[torch.nn.ReLU()])


def test_all_modules_keep_their_names(resnet):
    ours = {name for name, _ in resnet.file.named_modules()}
    assert ours == {name for name, _ in resnet.torch.named_modules()}


def test_a_file_takes_a_path_bytes_and_a_proto(tmp_path):
    import onnx

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    x = torch.randn(1, 3, 8, 8)
    file = onnx_gradcam.torch.export(model, x)
    path = tmp_path / "model.onnx"
    path.write_bytes(file)
    for given in (file, path, str(path), onnx.load_from_string(file)):
        close(numpy(OnnxModule(given)(x)), numpy(model.eval()(x)), BOUND)


def test_a_network_is_freed_with_its_module():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    x = torch.randn(1, 3, 8, 8)
    module = OnnxModule(onnx_gradcam.torch.export(model, x))
    module.get_submodule("0").register_forward_hook(lambda *_: None)
    module(x).sum().backward()
    network = weakref.ref(module._own.network)
    gc.disable()
    try:
        del module
        assert network() is None
    finally:
        gc.enable()
