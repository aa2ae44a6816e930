//! The properties of a CUDA device that a run records: its name, the peak memory of its tensors,
//! and whether TF32 was allowed. Also pinned memory.

use crate::message::outcome;
use libloading::os::unix::Library;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr::null_mut;
use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn gauntlet_peak_device_memory(device: i8, bytes: *mut i64) -> *mut c_char;
    fn gauntlet_reset_peak_device_memory(device: i8) -> *mut c_char;
    fn gauntlet_pin_memory(tensor: *const C_tensor, pinned: *mut *mut C_tensor) -> *mut c_char;
    fn gauntlet_set_tf32(allowed: bool) -> *mut c_char;
    fn gauntlet_get_tf32(allowed: *mut bool) -> *mut c_char;
}

/// `cpu`, or the model of the GPU as reported by its driver, such as `NVIDIA H200`.
pub fn device_name(device: Device) -> Result<String, TchError> {
    match device {
        Device::Cuda(number) => gpu_name(number).map_err(TchError::Torch),
        _ => Ok("cpu".into()),
    }
}

/// Queries the driver, which numbers devices as libtorch does (CUDA_VISIBLE_DEVICES applies to
/// both): libtorch has names only in its CUDA part, which this crate does not link.
fn gpu_name(number: usize) -> Result<String, String> {
    type Init = unsafe extern "C" fn(c_uint) -> c_int;
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    let number = c_int::try_from(number).map_err(|why| why.to_string())?;
    let failed =
        |code: c_int| (code == 0).then_some(()).ok_or_else(|| format!("the CUDA driver returned error {code}"));
    let (mut device, mut name) = (0, [0u8; 256]);
    // SAFETY: libcuda.so.1 is NVIDIA's, libtorch already has it open, and the three functions are
    // declared as in cuda.h. The driver writes one integer to `device`, and to `name` at most the
    // 256 bytes of the given size.
    unsafe {
        let driver = Library::new("libcuda.so.1").map_err(|error| error.to_string())?;
        let init = driver.get::<Init>(b"cuInit\0").map_err(|error| error.to_string())?;
        let get = driver.get::<Get>(b"cuDeviceGet\0").map_err(|error| error.to_string())?;
        let name_of = driver.get::<Name>(b"cuDeviceGetName\0").map_err(|error| error.to_string())?;
        failed(init(0))?;
        failed(get(&mut device, number))?;
        failed(name_of(name.as_mut_ptr().cast(), 256, device))?;
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(|why| why.to_string())?;
    Ok(name.to_string_lossy().into_owned())
}

/// The maximum number of bytes that tensors on a CUDA device held at once, since the start or since
/// [`reset_peak_device_memory`]; `None` for another device.
pub fn peak_device_memory(device: Device) -> Result<Option<u64>, TchError> {
    let Some(number) = cuda_number(device)? else { return Ok(None) };
    let mut bytes = 0;
    // SAFETY: C++ writes one number to `bytes`; the message is from malloc and owned by the caller.
    unsafe { outcome(gauntlet_peak_device_memory(number, &mut bytes))? };
    Ok(u64::try_from(bytes).ok())
}

/// Resets the peak to the memory that is held now. Does nothing on a device other than CUDA.
pub fn reset_peak_device_memory(device: Device) -> Result<(), TchError> {
    match cuda_number(device)? {
        // SAFETY: a number only; the message is from malloc and owned by the caller.
        Some(number) => unsafe { outcome(gauntlet_reset_peak_device_memory(number)) },
        None => Ok(()),
    }
}

/// A copy in pinned memory, which a GPU reads while the program continues. An error if there is no
/// GPU.
pub fn pin_memory(tensor: &Tensor) -> Result<Tensor, TchError> {
    let mut pinned = null_mut();
    // SAFETY: the handle is an `at::Tensor*` that the borrowed `Tensor` keeps alive during the
    // call. The message is from malloc and owned by the caller.
    unsafe { outcome(gauntlet_pin_memory(tensor.as_ptr(), &mut pinned))? };
    // SAFETY: C++ succeeded, so `pinned` was made by `new` and is owned here alone.
    Ok(unsafe { Tensor::from_ptr(pinned) })
}

fn cuda_number(device: Device) -> Result<Option<i8>, TchError> {
    match device {
        Device::Cuda(number) => i8::try_from(number).map(Some).map_err(|why| TchError::Torch(why.to_string())),
        _ => Ok(None),
    }
}

/// Allows or forbids TF32 (32-bit floats with the mantissa cut to 10 bits) in this process's matrix
/// products and convolutions on CUDA. libtorch starts with TF32 allowed in convolutions.
pub fn set_tf32(allowed: bool) -> Result<(), TchError> {
    // SAFETY: a value only; the message is from malloc and owned by the caller.
    unsafe { outcome(gauntlet_set_tf32(allowed)) }
}

/// Whether TF32 is allowed in matrix products or convolutions.
pub fn allows_tf32() -> Result<bool, TchError> {
    let mut allowed = false;
    // SAFETY: C++ writes one value to `allowed`; the message is from malloc and owned by the
    // caller.
    unsafe { outcome(gauntlet_get_tf32(&mut allowed))? };
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_is_on_until_it_is_set_off() {
        assert!(allows_tf32().unwrap(), "libtorch has it on for convolutions");
        set_tf32(false).unwrap();
        assert!(!allows_tf32().unwrap());
        set_tf32(true).unwrap();
        assert!(allows_tf32().unwrap());
    }

    #[test]
    fn the_cpu_has_a_name_and_no_device_memory() {
        assert_eq!(device_name(Device::Cpu).unwrap(), "cpu");
        assert_eq!(peak_device_memory(Device::Cpu).unwrap(), None);
        reset_peak_device_memory(Device::Cpu).unwrap();
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        if tch::Cuda::device_count() == 0 {
            assert!(device_name(Device::Cuda(0)).is_err());
            assert!(peak_device_memory(Device::Cuda(0)).is_err());
        }
    }
}
