// A large matrix times few rows in float32, for generation on CPUs: out = kernel · rowsᵀ.
//
// Every weight is read once a token, so reading them is what takes time. A row of the kernel that is
// shorter than a page ends before the processor has noticed that it is read in order: XLA's products
// wait for memory then, and do not multiply meanwhile. Here the weights of the next outputs are asked
// for while those of the present ones are multiplied.
//
// Sums run over the inputs in order, whatever the number of rows and threads: what comes out for a
// row depends on that row alone, to the last bit.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Matrix = ffi::BufferR2<ffi::F32>;

// Rows that are multiplied together, side by side in a vector.
constexpr std::int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

// Outputs whose sums are kept in registers at a time. AVX-512 has 32 registers as wide as Lanes, and
// eight sums are enough to keep it multiplying.
#ifdef __AVX512F__
constexpr std::int64_t kTile = 8;
#else
constexpr std::int64_t kTile = 4;
#endif

constexpr std::int64_t kFloatsOfCacheLine = 16;

// Pieces of the outputs for each thread: one that began late leaves its share to the others.
constexpr std::int64_t kBlocksOfThread = 4;

// Below so many products waking another thread takes longer than it saves.
constexpr std::int64_t kProductsOfThread = 1 << 20;

// One input of kLanes rows.
struct alignas(sizeof(Lanes)) Column {
  float values[kLanes];
};

// The products of kOutputs rows of the kernel with one group of rows; `count` lanes are written.
template <std::int64_t kOutputs>
void MultiplyTile(const float* kernel, const Column* rows, std::int64_t inputs, float* out,
                  std::int64_t stride, std::int64_t count) {
  Lanes sums[kOutputs] = {};
  const float* next = kernel + kOutputs * inputs;
  for (std::int64_t k = 0; k < inputs; ++k) {
    Lanes x;
    std::memcpy(&x, &rows[k], sizeof(x));
    // As many lines as the next tile has, in all. Past the end of the kernel nothing happens.
    if (k * kOutputs % kFloatsOfCacheLine == 0) __builtin_prefetch(next + k * kOutputs);
#pragma GCC unroll 8
    for (std::int64_t n = 0; n < kOutputs; ++n) sums[n] += kernel[n * inputs + k] * x;
  }
  if (count == kLanes) {  // A size that is known is copied without a call.
#pragma GCC unroll 8
    for (std::int64_t n = 0; n < kOutputs; ++n) std::memcpy(out + n * stride, &sums[n], sizeof(Lanes));
  } else {
    for (std::int64_t n = 0; n < kOutputs; ++n)
      std::memcpy(out + n * stride, &sums[n], count * sizeof(float));
  }
}

// One product, shared out among threads in blocks of outputs.
class Product {
 public:
  Product(const float* kernel, const float* rows, float* out, std::int64_t outputs,
          std::int64_t inputs, std::int64_t row_count, std::int64_t threads)
      : kernel_(kernel),
        out_(out),
        outputs_(outputs),
        inputs_(inputs),
        row_count_(row_count),
        groups_((row_count + kLanes - 1) / kLanes),
        columns_(groups_ * inputs) {
    const std::int64_t tiles = (outputs + kTile - 1) / kTile;
    const std::int64_t blocks = threads > 1 ? threads * kBlocksOfThread : 1;
    block_ = std::max<std::int64_t>(1, (tiles + blocks - 1) / blocks) * kTile;
    blocks_ = (outputs + block_ - 1) / block_;
    left_ = blocks_;
    for (std::int64_t row = 0; row < row_count; row += kLanes)
      Transpose(rows + row * inputs, std::min(kLanes, row_count - row),
                columns_.data() + row / kLanes * inputs);
  }

  std::int64_t blocks() const { return blocks_; }

  // Multiplies blocks until none is left to begin.
  void Work() {
    for (std::int64_t block; (block = next_++) < blocks_;) {
      Multiply(block * block_, std::min(outputs_, (block + 1) * block_));
      if (--left_ == 0) left_.notify_all();
    }
  }

  // Waits for blocks that other threads have begun.
  void Wait() {
    for (std::int64_t left; (left = left_) > 0;) left_.wait(left);
  }

 private:
  void Transpose(const float* rows, std::int64_t count, Column* columns) {
    for (std::int64_t k = 0; k < inputs_; ++k)
      for (std::int64_t row = 0; row < count; ++row)
        columns[k].values[row] = rows[row * inputs_ + k];
  }

  void Multiply(std::int64_t begin, std::int64_t end) {
    for (; begin + kTile <= end; begin += kTile) MultiplyOutputs<kTile>(begin);
    for (; begin < end; ++begin) MultiplyOutputs<1>(begin);
  }

  // All rows, while these weights are in the cache.
  template <std::int64_t kOutputs>
  void MultiplyOutputs(std::int64_t output) {
    for (std::int64_t group = 0; group < groups_; ++group) {
      const std::int64_t row = group * kLanes;
      MultiplyTile<kOutputs>(kernel_ + output * inputs_, columns_.data() + group * inputs_, inputs_,
                             out_ + output * row_count_ + row, row_count_,
                             std::min(kLanes, row_count_ - row));
    }
  }

  const float* kernel_;
  float* out_;
  std::int64_t outputs_, inputs_, row_count_, groups_, block_, blocks_;
  std::vector<Column> columns_;
  std::atomic<std::int64_t> next_{0}, left_;
};

ffi::Error MultiplyFewRows(ffi::ThreadPool pool, Matrix kernel, Matrix rows,
                           ffi::Result<Matrix> out) {
  const std::int64_t outputs = kernel.dimensions()[0], inputs = kernel.dimensions()[1];
  const std::int64_t row_count = rows.dimensions()[0];
  const std::int64_t useful = outputs * inputs * row_count / kProductsOfThread + 1;
  const std::int64_t threads = std::clamp<std::int64_t>(pool.num_threads(), 1, useful);
  // Shared: a thread that begins when all is done finds nothing to do, but looks.
  auto product =
      std::make_shared<Product>(kernel.typed_data(), rows.typed_data(), out->typed_data(), outputs,
                                inputs, row_count, threads);
  for (std::int64_t i = 1; i < std::min(threads, product->blocks()); ++i)
    pool.Schedule([product] { product->Work(); });
  product->Work();
  product->Wait();
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(StepcoderFewRows, MultiplyFewRows,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<Matrix>()
                                  .Ret<Matrix>());
