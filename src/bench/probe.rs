//! The linear probe's solver on features in a file; `bench/linear_probe.py` makes the features and
//! runs scikit-learn for comparison.

use super::Bed;
use crate::output::tell;
use clap::Args;
use gauntlet::data::files::read_safetensors;
use gauntlet::{Error, Result, trial};
use gauntlet_evaluators::logistic::Problem;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// Times the linear probe's solver.
#[derive(Args)]
pub struct Probe {
    /// Safetensors: `fit` and `test` f32 [rows, features], `fit_labels` and `test_labels` i64
    /// [rows]
    features: PathBuf,
    /// Inverse regularisation, scikit-learn's C; may be given several times
    #[arg(long = "c", default_value = "1.0")]
    c: Vec<f64>,
}

impl Probe {
    /// Seconds, objective and accuracy at each C; each fit starts from zero.
    pub fn measure(&self, bed: &Bed) -> Result<Value> {
        let (tensors, _) = read_safetensors(&self.features)?;
        let get = |name: &str| of(&tensors, name, &self.features).map(|tensor| tensor.to_device(bed.device));
        let (fit, labels, test, truth) = (get("fit")?, get("fit_labels")?, get("test")?, get("test_labels")?);
        let classes = i64::try_from(labels.max())? + 1;
        let mut fits = Vec::new();
        for &c in &self.c {
            let (mut found, cpu) = (None, trial::cpu_seconds());
            let seconds = bed.time(|| {
                found = Some(Problem::new(&fit, &labels, classes)?.fit(c, None)?);
                Ok(())
            })?;
            let cpu_seconds = trial::cpu_seconds() - cpu;
            let found = found.expect("it was fitted, or an error was returned");
            let right = found.layer.classify(&test).eq_tensor(&truth).to_kind(Kind::Double).mean(None);
            let (objective, steps, accuracy) = (found.objective, found.steps, f64::try_from(right)?);
            tell(&format!("C {c}: {seconds:.2} s, {steps} steps, objective {objective}, accuracy {accuracy}"));
            fits.push(
                json!({ "c": c, "seconds": seconds, "cpu_seconds": cpu_seconds, "steps": steps, "objective": objective, "accuracy": accuracy }),
            );
        }
        Ok(json!({ "rows": fit.size()[0], "features": fit.size()[1], "classes": classes, "fits": fits }))
    }
}

fn of<'a>(tensors: &'a BTreeMap<String, Tensor>, name: &str, path: &std::path::Path) -> Result<&'a Tensor> {
    tensors.get(name).ok_or_else(|| Error::invalid(path.display().to_string(), format!("has no tensor `{name}`")))
}
