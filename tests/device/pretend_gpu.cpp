// A pretend GPU: tensors that say "cuda:N" on torch's own dispatch key, with their bytes in host
// memory and every kernel the CPU's. README.md beside this says what is real and what imitated.
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/TensorOperators.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {

constexpr auto kCuda = c10::DeviceType::CUDA;
constexpr int kMostDevices = 8;
constexpr int kFewRows = 16;  // Products of more rows are summed in another order, when asked.

struct Gpu {
  std::atomic<int64_t> capacity{0}, used{0}, peak{0};
};
std::array<Gpu, kMostDevices> gpus;
std::atomic<int> n_gpus{0};
std::atomic<bool> rounds_by_shape{false};
thread_local c10::DeviceIndex current = 0;

// ------------------------------------------------------------------------------ memory

struct Piece {
  void* bytes;
  int64_t size;
  Gpu* gpu;
};

void free_piece(void* context) {
  auto* piece = static_cast<Piece*>(context);
  piece->gpu->used -= piece->size;
  std::free(piece->bytes);
  delete piece;
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    Gpu& gpu = gpus[current];
    const auto wanted = static_cast<int64_t>(size);
    const int64_t total = gpu.used += wanted;
    if (total > gpu.capacity) {
      gpu.used -= wanted;
      TORCH_CHECK_WITH(
          OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", size, " bytes. GPU ",
          int(current), " has ", gpu.capacity.load(), " bytes, of which ",
          gpu.capacity - total + wanted, " are free (pretend).");
    }
    if (gpu.peak < total) gpu.peak = total;
    void* bytes = nullptr;
    if (size > 0) {
      TORCH_CHECK(posix_memalign(&bytes, 256, size) == 0, "The host's memory is full.");
      std::memset(bytes, 0x7f, size);  // What nobody wrote holds large numbers, as on a used GPU.
    }
    return {bytes, new Piece{bytes, wanted, &gpu}, &free_piece, c10::Device(kCuda, current)};
  }
  void copy_data(void* to, const void* from, size_t size) const override {
    std::memcpy(to, from, size);
  }
};
Allocator allocator;

// ----------------------------------------------------- what torch asks of a kind of device

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kCuda; }
  c10::Device getDevice() const override { return {kCuda, current}; }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(
        device.index() < n_gpus, "CUDA error: invalid device ordinal ", int(device.index()));
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.has_index()) current = device.index();
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    const auto before = getDevice();
    setDevice(device);
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return static_cast<c10::DeviceIndex>(n_gpus.load());
  }
  // Nothing is done later: whatever is called is done when the call returns.
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device.has_index() ? device : getDevice());
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return getStream(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return getStream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    static int done;
    *event = &done;
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(c10::DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};

// Autograd and the factories of tensors ask these.
struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isPinnedPtr(const void*) const override { return false; }
  int getNumGPUs() const override { return n_gpus; }
  c10::DeviceIndex deviceCount() const override { return Guard().deviceCount(); }
  c10::DeviceIndex current_device() const override { return current; }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(c10::DeviceIndex device) const override { current = device; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    return std::exchange(current, device);
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return device < 0 ? current : exchangeDevice(device);
  }
  c10::Allocator* getCUDADeviceAllocator() const override { return &allocator; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};

struct OnDevice {  // What is made meanwhile is made there.
  c10::DeviceIndex before = current;
  explicit OnDevice(std::optional<c10::Device> device) {
    if (device) Guard().setDevice(*device);
  }
  ~OnDevice() { current = before; }
};

// ------------------------------------------------------ tensors: made, resized, and copied

const c10::DispatchKeySet kKeys(c10::DispatchKey::CUDA);

at::Tensor empty(
    c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool>,
    std::optional<at::MemoryFormat> format) {
  OnDevice there(device);
  return at::Tensor(
      at::detail::empty_generic(size, &allocator, kKeys, c10::dtype_or_default(dtype), format));
}

at::Tensor empty_strided(
    c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  OnDevice there(device);
  return at::Tensor(at::detail::empty_strided_generic(
      size, stride, &allocator, kKeys, c10::dtype_or_default(dtype)));
}

const at::Tensor& resize_(
    const at::Tensor& self, c10::IntArrayRef size, std::optional<at::MemoryFormat>) {
  if (self.sizes() == size) return self;
  auto* storage = self.storage().unsafeGetStorageImpl();
  const auto needed = static_cast<size_t>(
      (self.storage_offset() + c10::multiply_integers(size)) * int64_t(self.itemsize()));
  if (needed > storage->nbytes()) {
    OnDevice there(self.device());
    auto larger = allocator.allocate(needed);
    if (storage->nbytes()) std::memcpy(larger.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(larger));
    storage->set_nbytes(needed);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor& set_storage(
    at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size,
    c10::IntArrayRef stride) {
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_storage_keep_dtype(std::move(source));
  tensor->set_storage_offset(offset);
  if (stride.empty()) {
    tensor->set_sizes_contiguous(size);
  } else {
    tensor->set_sizes_and_strides(size, stride);
  }
  return self;
}

at::Tensor& set_whole_storage(at::Tensor& self, at::Storage source) {
  const auto numbers = static_cast<int64_t>(source.nbytes() / self.itemsize());
  return set_storage(self, std::move(source), 0, {numbers}, {});
}

at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return set_storage(
      self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

at::Tensor on_host(const at::Tensor& tensor) {  // The same bytes, as a tensor of the CPU.
  if (!tensor.is_cuda()) return tensor;
  auto host = at::from_blob(
      tensor.numel() ? tensor.mutable_data_ptr() : nullptr, tensor.sizes(), tensor.strides(),
      [keep = tensor.storage()](void*) {}, tensor.options().device(at::kCPU));
  host._set_conj(tensor.is_conj());
  host._set_neg(tensor.is_neg());
  return host;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool) {
  on_host(to).copy_(on_host(self));
  return to;
}

at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool) {
  on_host(self).copy_(on_host(source));
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}

at::Scalar local_scalar(const at::Tensor& self) { return at::_local_scalar_dense(on_host(self)); }

// ------------------------------------------------------------------ one device in a call

using Operator = c10::OperatorHandle;
using Stack = torch::jit::Stack;

bool is_pointwise(const std::string& name, const std::string& overload) {
  auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!found) return false;
  const auto tags = found->getTags();
  return std::find(tags.begin(), tags.end(), at::Tag::pointwise) != tags.end();
}

// Kernels by element take a number of the CPU. Variants that write to a given tensor carry no tag.
bool takes_host_numbers(const Operator& op) {
  static const std::set<std::string> more = {
      "aten::where", "aten::masked_fill", "aten::masked_fill_", "aten::fill_", "aten::lerp",
      "aten::lerp_", "aten::clamp", "aten::clamp_", "aten::index_put_", "aten::index_put",
      "aten::_index_put_impl_"};
  const std::string name = op.schema().name(), overload = op.schema().overload_name();
  if (more.count(name) || is_pointwise(name, overload)) return true;
  if (name.back() == '_') return is_pointwise(name.substr(0, name.size() - 1), overload);
  if (overload.find("out") == std::string::npos) return false;
  for (const char* other : {"", "Tensor", "Scalar", "self"}) {
    if (is_pointwise(name, other)) return true;
  }
  return false;
}

bool takes_host_indices(const std::string& name) {
  static const std::set<std::string> names = {
      "aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_",
      "aten::_unsafe_index", "aten::_unsafe_index_put"};
  return names.count(name) > 0;
}

template <class Visit>
void each_tensor(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) visit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& each : value.toTensorVector()) visit(each);
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor>& each : value.toOptionalTensorVector()) {
      if (each && each->defined()) visit(*each);
    }
  }
}

template <class Visit>
void each_argument(const Operator& op, Stack& stack, const Visit& visit) {
  const auto& arguments = op.schema().arguments();
  const size_t begin = stack.size() - arguments.size();
  for (size_t i = 0; i < arguments.size(); ++i) visit(arguments[i].name(), stack[begin + i]);
}

std::optional<c10::Device> only_device(const Operator& op, Stack& stack) {
  const std::string operator_name = op.schema().name();
  const bool numbers = takes_host_numbers(op), indices = takes_host_indices(operator_name);
  std::optional<c10::Device> found, asked;
  each_argument(op, stack, [&](const std::string& name, c10::IValue& value) {
    if (value.isDevice()) asked = value.toDevice();
    if (value.isGenerator() && value.toGenerator().defined()) {
      const auto type = value.toGenerator().device().type();
      TORCH_CHECK(type == kCuda, "Expected a 'cuda' device type for generator but found '", type, "'");
    }
    each_tensor(value, [&](const at::Tensor& tensor) {
      const auto device = tensor.device();
      if (device.is_cpu() && numbers && tensor.dim() == 0) return;
      if (device.is_cpu() && indices && name == "indices") return;
      TORCH_CHECK(
          !found || *found == device,
          "Expected all tensors to be on the same device, but found at least two devices, ",
          *found, " and ", device, "! (when checking argument for argument ", name,
          " in method wrapper_CUDA_", operator_name, ")");
      found = device;
    });
  });
  return found && found->is_cuda() ? found : asked;
}

// ---------------------------------------------------------------------------- rounding

at::Tensor to_ten_bits(const at::Tensor& tensor) {  // What TF32 keeps of a float32.
  auto rounded = at::empty_like(tensor, at::MemoryFormat::Contiguous);
  auto host = on_host(rounded);
  host.copy_(on_host(tensor));
  auto* bits = reinterpret_cast<uint32_t*>(host.mutable_data_ptr<float>());
  for (int64_t i = 0; i < host.numel(); ++i) {
    if ((bits[i] & 0x7f800000u) != 0x7f800000u) bits[i] = (bits[i] + 0x1000u) & ~0x1fffu;
  }
  return rounded;
}

void round_factors(const Operator& op, Stack& stack) {
  static const std::set<std::string> products = {
      "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addmv", "aten::mv"};
  static const std::set<std::string> factors = {"mat1", "mat2", "batch1", "batch2", "mat", "vec"};
  const std::string product = op.schema().name();
  const bool adds = product.find("add") != std::string::npos;
  if (!products.count(product) ||
      at::globalContext().float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) !=
          at::Float32Precision::TF32) {
    return;
  }
  each_argument(op, stack, [&](const std::string& name, c10::IValue& value) {
    if (!value.isTensor() || value.toTensor().scalar_type() != at::kFloat) return;
    if (factors.count(name) || (name == "self" && !adds)) value = to_ten_bits(value.toTensor());
  });
}

// A library picks its kernel, and so the order of a sum, by the shapes. Of a product of many rows
// the two halves are summed apart here.
bool sum_in_halves(const Operator& op, Stack& stack) {
  const std::string product = op.schema().name();
  const bool adds = product == "aten::addmm";
  if (!rounds_by_shape || !(adds || product == "aten::mm") ||
      op.schema().overload_name() != "out") {
    return false;
  }
  at::Tensor self, left, right, out;
  double alpha = 1, beta = 1;
  each_argument(op, stack, [&](const std::string& name, c10::IValue& value) {
    if (name == "self") self = value.toTensor();
    if (name == "mat1") left = value.toTensor();
    if (name == "mat2") right = value.toTensor();
    if (name == "out") out = value.toTensor();
    if (name == "alpha") alpha = value.toScalar().toDouble();
    if (name == "beta") beta = value.toScalar().toDouble();
  });
  if (!adds) left = self;
  if (left.size(0) <= kFewRows || left.size(1) < 2 || !at::isFloatingType(out.scalar_type())) {
    return false;
  }
  const auto wide = out.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto a = on_host(left).to(wide), b = on_host(right).to(wide);
  const auto half = a.size(1) / 2, rest = a.size(1) - half;
  auto sum = at::mm(a.narrow(1, 0, half), b.narrow(0, 0, half)) +
      at::mm(a.narrow(1, half, rest), b.narrow(0, half, rest));
  sum = sum * alpha;
  if (adds && beta != 0) sum = sum + on_host(self).to(wide) * beta;
  copy_from_and_resize(sum.to(out.scalar_type()), out);
  torch::jit::drop(stack, op.schema().arguments().size());
  torch::jit::push(stack, out);
  return true;
}

// ------------------------------------------------------------------- every other operator

bool is_not_deterministic(const Operator& op, Stack& stack) {  // As torch's documentation lists.
  static const std::set<std::string> names = {
      "aten::histc", "aten::kthvalue", "aten::median", "aten::put_", "aten::bincount",
      "aten::nll_loss2d_forward"};
  bool reduces = true;
  each_argument(op, stack, [&](const std::string& name, c10::IValue& value) {
    if (name == "reduction" && value.isInt()) reduces = value.toInt() != at::Reduction::None;
  });
  return names.count(op.schema().name()) && reduces;
}

void run_on_host(const Operator& op, Stack* stack) {
  OnDevice there(only_device(op, *stack));
  if (is_not_deterministic(op, *stack)) {
    at::globalContext().alertNotDeterministic(op.schema().name());
  }
  if (sum_in_halves(op, *stack)) return;
  round_factors(op, *stack);
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

namespace at {
using CUDAHooks = ::Hooks;  // The name that torch looks it up by.
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("view", &at::native::view);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
  library.impl("unfold", &at::native::unfold);
  library.impl("resize_", &resize_);
  library.impl("set_.source_Storage", &set_whole_storage);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("set_.source_Tensor", &set_tensor);
  library.impl("copy_", &copy_);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("_local_scalar_dense", &local_scalar);
}

// ---------------------------------------------------------------------- asked from Python

extern "C" {
void install(int devices) {
  at::SetAllocator(kCuda, &allocator);
  n_gpus = devices;
}
int current_device() { return current; }
int set_device(int device) {  // Whether there is one of that number.
  if (device >= 0 && device < n_gpus) current = static_cast<c10::DeviceIndex>(device);
  return device < n_gpus;
}
void set_capacity(int device, int64_t bytes) { gpus[device].capacity = bytes; }
int64_t capacity(int device) { return gpus[device].capacity; }
int64_t used(int device) { return gpus[device].used; }
int64_t peak(int device) { return gpus[device].peak; }
void reset_peak(int device) { gpus[device].peak = gpus[device].used.load(); }
void round_by_shape(int yes) { rounds_by_shape = yes != 0; }
}
