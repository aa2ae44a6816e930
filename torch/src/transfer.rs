//! Copies from the host to a GPU without blocking. Only a copy from pinned memory runs in parallel
//! with the device; any other copy makes the program wait until the device has finished all its
//! work.

use tch::kind::Element;
use tch::{Device, Tensor};

/// Pinned if the device is a GPU.
pub fn pinned(tensor: Tensor, device: Device) -> Tensor {
    if device.is_cuda() { crate::pin_memory(&tensor).expect("memory to pin") } else { tensor }
}

/// On the device. If the tensor is pinned, the call does not wait for the copy.
pub fn sent(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_device_(device, tensor.kind(), true, false)
}

/// Numbers on the device, through pinned memory.
pub fn sent_slice<T: Element>(numbers: &[T], device: Device) -> Tensor {
    sent(&pinned(Tensor::from_slice(numbers), device), device)
}
