//! The GPUs of this machine, shared out to concurrent trials. A trial's own device stays `cuda`: its
//! process sees one GPU only, so that results do not depend on which one it got.

use gauntlet::Trial;

/// What the children of a run compute on.
pub struct Devices {
    /// As `CUDA_VISIBLE_DEVICES` names them; empty if the trials choose no GPU by themselves.
    visible: Vec<String>,
}

impl Devices {
    /// The GPUs that this process may use, if a trial computes on any. A scheduler says which by
    /// `CUDA_VISIBLE_DEVICES`.
    pub fn of(trials: &[&Trial]) -> Devices {
        if !trials.iter().any(|trial| trial.device == "cuda") {
            return Devices { visible: Vec::new() };
        }
        Devices { visible: among(std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref(), tch::Cuda::device_count()) }
    }

    /// Concurrent trials if the user gives no number: one on each GPU.
    pub fn count(&self) -> usize {
        self.visible.len()
    }

    /// The value of `CUDA_VISIBLE_DEVICES` for the trials of one of several concurrent slots:
    /// with more slots than GPUs, some share one. `None`: as it is.
    pub fn of_slot(&self, slot: usize) -> Option<&str> {
        (!self.visible.is_empty()).then(|| self.visible[slot % self.visible.len()].as_str())
    }
}

/// The names of `count` GPUs, given those that the environment names.
fn among(named: Option<&str>, count: i64) -> Vec<String> {
    let count = usize::try_from(count).unwrap_or(0);
    match named {
        Some(named) => named.split(',').map(|name| name.trim().to_string()).take(count).collect(),
        None => (0..count).map(|number| number.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Devices, among};

    #[test]
    fn each_slot_gets_one_of_the_gpus_that_the_scheduler_gives() {
        assert_eq!(among(None, 3), ["0", "1", "2"]);
        assert_eq!(among(Some("GPU-a, GPU-b"), 2), ["GPU-a", "GPU-b"]);
        // CUDA counts those before the first that it cannot use.
        assert_eq!(among(Some("5,-1,6"), 1), ["5"]);
        assert!(among(Some(""), 0).is_empty());
        let devices = Devices { visible: among(Some("4,6"), 2) };
        assert_eq!([0, 1, 2].map(|slot| devices.of_slot(slot)), [Some("4"), Some("6"), Some("4")]);
        assert_eq!(Devices { visible: Vec::new() }.of_slot(0), None);
    }
}
