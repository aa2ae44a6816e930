//! From the host to a GPU without anybody waiting: only a copy out of pinned memory runs beside
//! what the device is doing, any other makes the program wait until the device has done all that it
//! was given.

use tch::kind::Element;
use tch::{Device, Tensor};

/// Pinned, where the device is a GPU.
pub fn pinned(tensor: Tensor, device: Device) -> Tensor {
    if device.is_cuda() { crate::pin_memory(&tensor).expect("memory to pin") } else { tensor }
}

/// On the device; where the tensor is pinned, nobody waits for it.
pub fn sent(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_device_(device, tensor.kind(), true, false)
}

/// Numbers on the device, through pinned memory.
pub fn sent_slice<T: Element>(numbers: &[T], device: Device) -> Tensor {
    sent(&pinned(Tensor::from_slice(numbers), device), device)
}
