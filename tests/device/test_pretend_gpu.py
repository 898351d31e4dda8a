"""The pretend GPU refuses what CUDA refuses, allows what it allows, and rounds when asked."""

import copy
import threading

import pytest

from tests.device import pretend_gpu

if pretend_gpu.MISSING:
    pytest.skip(pretend_gpu.MISSING, allow_module_level=True)

import torch
from torch.nn import functional

MIXED = {
    "sum of two tensors": lambda here, there: here + there,
    "product": lambda here, there: here @ there,
    "concatenation": lambda here, there: torch.cat([here, there]),
    "index in a gather": lambda here, there: here.gather(0, there.long()),
    "rows of an embedding": lambda here, there: functional.embedding(there.long(), here),
    "target of a loss": lambda here, there: torch.nn.functional.cross_entropy(
        here, there[0].long()
    ),
    "numpy": lambda here, there: here.numpy(),
    "a generator of the CPU": lambda here, there: torch.randn(
        2, device=here.device, generator=torch.Generator()
    ),
}
ALLOWED = {
    "a number of the CPU": lambda here, there: here + there.sum(),
    "an index of the CPU": lambda here, there: here[there.long()[0]],
    "a copy into": lambda here, there: here.copy_(there),
    "a number that is filled in": lambda here, there: here.masked_fill(here > 0, there.sum()),
}


@pytest.mark.parametrize("call", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("other", ["cpu", "cuda:1"])
def test_two_devices_in_a_call_are_refused(gpu, call, other):
    with pytest.raises((RuntimeError, TypeError), match=r"device|convert"):
        call(torch.ones(3, 3, device=gpu), torch.ones(3, 3, device=other))


@pytest.mark.parametrize("call", ALLOWED.values(), ids=ALLOWED)
def test_what_cuda_takes_from_the_cpu_is_taken(gpu, call):
    assert call(torch.ones(3, 3, device=gpu), torch.ones(3, 3)).device == gpu


def test_an_index_of_the_other_gpu_is_refused(gpu):
    with pytest.raises(RuntimeError, match="on the same device"):
        torch.ones(3, device=gpu)[torch.zeros(2, dtype=torch.long, device="cuda:1")]


def test_gradients_arise_where_the_tensors_are():
    leaf = torch.ones(3, 2, device="cuda:1", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        product = torch.ones(2, 3, device="cuda:1") @ leaf
    assert product.dtype == torch.bfloat16
    product.float().to("cuda:0").square().sum().backward()
    assert leaf.grad.device == torch.device("cuda:1")
    assert leaf.grad.tolist() == [[12.0, 12.0]] * 3


def test_a_module_is_moved_and_copied_as_a_plain_one(gpu):
    module = copy.deepcopy(torch.nn.BatchNorm1d(3).to(gpu))
    assert {type(each) for each in module.parameters()} == {torch.nn.Parameter}
    assert {each.device for each in [*module.parameters(), *module.buffers()]} == {gpu}


def test_memory_is_counted_per_device_and_has_an_end(gpu):
    before = torch.cuda.memory_allocated(1)
    tensor = torch.empty(1000, device="cuda:1")
    assert torch.cuda.memory_allocated(1) - before == 4000
    assert torch.cuda.max_memory_allocated(1) >= 4000
    del tensor
    assert torch.cuda.memory_allocated(1) == before
    pretend_gpu.LIBRARY.set_capacity(0, torch.cuda.memory_allocated(0) + 1000)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 4000 bytes"):
        torch.empty(1000, device=gpu)
    assert torch.cuda.mem_get_info(0)[0] == 1000


def test_memory_that_nobody_wrote_is_not_zero(gpu):
    assert torch.empty(8, device=gpu).abs().min() > 1e30


def test_products_lose_bits_in_tf32_only(gpu):
    one = torch.ones(4, 4, device=gpu)
    more = one * (1 + 2**-13)  # which ten bits do not hold
    assert (one @ more).flatten()[0].item() == 4 * (1 + 2**-13)
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    found = [(one @ more).flatten()[0].item(), torch.addmm(more, one, more).flatten()[0].item()]
    torch.backends.cuda.matmul.fp32_precision = "none"
    assert found == [4.0, 5 + 2**-13]


def test_a_product_of_more_rows_rounds_otherwise_when_asked(gpu):
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(40, 300, generator=generator).to(gpu)
    weight = torch.randn(300, 5, generator=generator).to(gpu)
    plain, few = many @ weight, many[:10] @ weight
    pretend_gpu.LIBRARY.round_by_shape(True)
    assert torch.equal(many[:10] @ weight, few)
    otherwise = many @ weight
    assert not torch.equal(otherwise, plain)
    torch.testing.assert_close(otherwise, plain, rtol=1e-4, atol=1e-4)


def test_what_is_not_deterministic_is_refused_where_that_is_asked(gpu):
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            torch.bincount(torch.ones(3, dtype=torch.long, device=gpu))
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_current_device_is_one_of_the_thread():
    seen = []
    torch.cuda.set_device(1)
    try:
        thread = threading.Thread(target=lambda: seen.append(torch.empty(1, device="cuda").device))
        thread.start()
        thread.join()
        assert torch.empty(1, device="cuda").device == torch.device("cuda:1")
    finally:
        torch.cuda.set_device(0)
    assert seen == [torch.device("cuda:0")]
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.empty(1, device="cuda:2")
