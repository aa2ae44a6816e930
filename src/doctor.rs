//! `gauntlet doctor`: reports the machine, the libraries that the program runs with, and any
//! problems.
//!
//! [`examine`] gathers the facts, `diagnose` judges them and `Display` prints both.
//! `torch/src/cuda.rs` documents how libtorch's CUDA part is found.

use gauntlet_torch::LIBTORCH_VERSION;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fmt, fs, thread};

/// The report as text, or as JSON. Uses CUDA, so `gauntlet_torch::load_cuda` must have been called.
pub fn doctor(json: bool) -> String {
    let checkup = examine();
    if json {
        serde_json::to_string_pretty(&checkup).expect("numbers, strings and paths that were printable")
    } else {
        checkup.to_string()
    }
}

/// The facts, and the findings.
#[derive(Debug, Serialize)]
pub struct Checkup {
    /// Version of this program.
    pub gauntlet: &'static str,
    /// The commit that it was built from; empty if it was built outside git.
    pub commit: &'static str,
    /// Whether its sources differed from that commit.
    pub dirty: bool,
    /// Hash of its sources and of the versions of its dependencies.
    pub sources: &'static str,
    /// The tensor library.
    pub libtorch: Libtorch,
    /// The processor.
    pub cpu: Cpu,
    /// Memory that this process may use.
    pub memory: Memory,
    /// Threads of tensor operations.
    pub threads: Threads,
    /// Graphics processors.
    pub gpu: Gpu,
    /// Things that will not work.
    pub problems: Vec<Finding>,
    /// Things that work, but could be better.
    pub advice: Vec<Finding>,
}

/// The libtorch that this process runs with.
#[derive(Debug, Serialize)]
pub struct Libtorch {
    /// Its own version string.
    pub version: Option<String>,
    /// Path of its libtorch_cpu.so, with links resolved.
    pub path: Option<String>,
    /// Path of its libtorch_cuda.so, if one was found and loaded.
    pub cuda: Option<String>,
    /// The reason why a requested or found libtorch_cuda.so is not loaded.
    pub cuda_error: Option<String>,
}

/// The processor.
#[derive(Debug, Serialize)]
pub struct Cpu {
    /// The model name that Linux reports.
    pub model: Option<String>,
    /// Number of cores that this process may run on.
    pub cores: usize,
    /// The vector instructions that libtorch uses here.
    pub instructions: Option<String>,
}

/// In bytes; the limit of a container counts.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// The total.
    pub total: Option<u64>,
    /// The memory that is available now, without swapping.
    pub available: Option<u64>,
}

/// Threads of tensor operations.
#[derive(Debug, Serialize)]
pub struct Threads {
    /// libtorch's default, used if a trial does not set it.
    pub default: usize,
    /// The variables that are set and change how threads start, wait and are bound.
    pub environment: BTreeMap<&'static str, String>,
}

/// Graphics processors.
#[derive(Debug, Serialize)]
pub struct Gpu {
    /// Number of GPUs that libtorch can use.
    pub usable: usize,
    /// The GPUs that the NVIDIA driver lists, by model.
    pub present: Vec<String>,
    /// Version of the NVIDIA driver.
    pub driver: Option<String>,
}

/// A problem or an advice, with its remedy.
#[derive(Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The problem.
    pub what: String,
    /// The remedy.
    pub cure: String,
}

const WATCHED: [&str; 9] = [
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
];

/// Examines the machine. Uses CUDA, so `gauntlet_torch::load_cuda` must have been called.
pub fn examine() -> Checkup {
    // A second call returns the result of the load at start.
    let (cuda, cuda_error) = match gauntlet_torch::load_cuda() {
        Ok(path) => (path, None),
        Err(why) => (None, Some(why)),
    };
    let config = gauntlet_torch::show_config().unwrap_or_default();
    let shown = |path: PathBuf| path.display().to_string();
    let build = gauntlet::build::get();
    let mut checkup = Checkup {
        gauntlet: build.version,
        commit: build.commit,
        dirty: build.dirty,
        sources: build.sources,
        libtorch: Libtorch {
            version: gauntlet_torch::libtorch_version().unwrap_or_default(),
            path: gauntlet_torch::libtorch_path().map(shown),
            cuda: cuda.map(shown),
            cuda_error,
        },
        cpu: Cpu {
            model: field_of("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().map_or(1, usize::from),
            instructions: field(&config, "- CPU capability usage"),
        },
        memory: memory(),
        threads: Threads {
            default: usize::try_from(tch::get_num_threads()).unwrap_or(1),
            environment: WATCHED.iter().filter_map(|name| Some((*name, env::var(name).ok()?))).collect(),
        },
        gpu: Gpu {
            usable: usize::try_from(tch::Cuda::device_count()).unwrap_or(0),
            present: gpus_of_the_driver(),
            driver: text_of("/sys/module/nvidia/version"),
        },
        problems: Vec::new(),
        advice: Vec::new(),
    };
    (checkup.problems, checkup.advice) = diagnose(&checkup);
    checkup
}

/// Problems and advice.
fn diagnose(facts: &Checkup) -> (Vec<Finding>, Vec<Finding>) {
    let problems = [wrong_libtorch(&facts.libtorch), cuda_does_not_load(&facts.libtorch), gpu_not_usable(facts)];
    let advice = [too_many_threads(facts)];
    (problems.into_iter().flatten().collect(), advice.into_iter().flatten().collect())
}

fn wrong_libtorch(libtorch: &Libtorch) -> Option<Finding> {
    let version = libtorch.version.as_deref().unwrap_or("an unknown version");
    (version != LIBTORCH_VERSION).then(|| Finding {
        what: format!("the running libtorch is {version}, but gauntlet needs {LIBTORCH_VERSION}"),
        cure: "remove the other libtorch from LD_LIBRARY_PATH, or run `make setup` and build again".into(),
    })
}

fn cuda_does_not_load(libtorch: &Libtorch) -> Option<Finding> {
    libtorch.cuda_error.as_ref().map(|why| Finding {
        what: format!("only the CPU can be used: {why}"),
        cure: format!(
            "install PyTorch {LIBTORCH_VERSION} with its NVIDIA packages (pip install torch=={LIBTORCH_VERSION}) and set \
             GAUNTLET_LIBTORCH_CUDA to its folder torch/lib"
        ),
    })
}

fn gpu_not_usable(facts: &Checkup) -> Option<Finding> {
    let (gpu, libtorch) = (&facts.gpu, &facts.libtorch);
    if gpu.present.is_empty() || gpu.usable > 0 || libtorch.cuda_error.is_some() {
        return None;
    }
    Some(match libtorch.cuda {
        None => Finding {
            what: format!("the GPU ({}) is not used: there is no libtorch_cuda.so", gpu.present.join(", ")),
            cure: format!(
                "install PyTorch {LIBTORCH_VERSION} with CUDA and run `make setup TORCH=/path/to/its/python`, or set \
                 GAUNTLET_LIBTORCH_CUDA to its folder torch/lib"
            ),
        },
        Some(_) => Finding {
            what: format!("libtorch's CUDA part is loaded, but it finds none of {}", gpu.present.join(", ")),
            cure: "check CUDA_VISIBLE_DEVICES, and the driver (CUDA 13 needs 580 or newer)".into(),
        },
    })
}

fn too_many_threads(facts: &Checkup) -> Option<Finding> {
    let (threads, cores) = (facts.threads.default, facts.cpu.cores);
    (threads > cores).then(|| Finding {
        what: format!("libtorch starts {threads} threads on {cores} cores"),
        cure: format!("set OMP_NUM_THREADS to at most {cores}, or leave it unset"),
    })
}

fn memory() -> Memory {
    let (total, available) = (kilobytes("MemTotal"), kilobytes("MemAvailable"));
    // The container's limit, if the process runs in one; "max" means no limit.
    let Some(limit) = number("/sys/fs/cgroup/memory.max") else { return Memory { total, available } };
    let left = limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0));
    Memory { total: total.map(|n| n.min(limit)), available: available.map(|n| n.min(left)) }
}

/// Bytes of a line of `/proc/meminfo`.
fn kilobytes(name: &str) -> Option<u64> {
    field_of("/proc/meminfo", name)?.strip_suffix(" kB")?.parse::<u64>().ok().map(|n| n * 1024)
}

fn number(path: &str) -> Option<u64> {
    text_of(path)?.parse().ok()
}

fn gpus_of_the_driver() -> Vec<String> {
    let Ok(folders) = fs::read_dir("/proc/driver/nvidia/gpus") else { return Vec::new() };
    let information = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("information")).ok();
    let mut models: Vec<String> =
        folders.flatten().filter_map(information).filter_map(|text| field(&text, "Model")).collect();
    models.sort();
    models
}

fn text_of(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn field_of(path: &str, name: &str) -> Option<String> {
    field(&text_of(path)?, name)
}

/// The value in the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn or_unknown(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or(UNKNOWN)
}

fn gigabytes(bytes: Option<u64>) -> String {
    bytes.map_or(UNKNOWN.into(), |n| format!("{:.1} GB", n as f64 / 1e9))
}

const UNKNOWN: &str = "unknown";

impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkup { libtorch, cpu, memory, threads, gpu, .. } = self;
        write!(f, "gauntlet  {}", self.gauntlet)?;
        if !self.commit.is_empty() {
            write!(f, ", commit {}{}", self.commit, if self.dirty { ", changed" } else { "" })?;
        }
        writeln!(f, ", sources {}", self.sources)?;
        writeln!(f, "libtorch  {}, {}", or_unknown(&libtorch.version), or_unknown(&libtorch.path))?;
        writeln!(f, "CUDA      {}", libtorch.cuda.as_deref().unwrap_or("no libtorch_cuda.so loaded"))?;
        write!(f, "CPU       {}, {} cores", or_unknown(&cpu.model), cpu.cores)?;
        writeln!(f, ", {}", cpu.instructions.as_deref().unwrap_or("instructions unknown"))?;
        write!(f, "GPU       {} usable", gpu.usable)?;
        if !gpu.present.is_empty() {
            write!(f, " of {} (driver {})", gpu.present.join(", "), or_unknown(&gpu.driver))?;
        }
        writeln!(f)?;
        writeln!(f, "memory    {}, {} available", gigabytes(memory.total), gigabytes(memory.available))?;
        write!(f, "threads   {} by default", threads.default)?;
        for (name, value) in &threads.environment {
            write!(f, "; {name}={value}")?;
        }
        writeln!(f, "\n")?;
        for (kind, findings) in [("problem", &self.problems), ("advice", &self.advice)] {
            for Finding { what, cure } in findings {
                writeln!(f, "{kind}: {what}\n  -> {cure}")?;
            }
        }
        if self.problems.is_empty() { writeln!(f, "no problems found") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Checkup {
        Checkup {
            gauntlet: "0.1.0",
            commit: "",
            dirty: false,
            sources: "",
            libtorch: Libtorch { version: Some(LIBTORCH_VERSION.into()), path: None, cuda: None, cuda_error: None },
            cpu: Cpu { model: None, cores: 8, instructions: None },
            memory: Memory { total: None, available: None },
            threads: Threads { default: 8, environment: BTreeMap::from([("OMP_WAIT_POLICY", "PASSIVE".into())]) },
            gpu: Gpu { usable: 0, present: vec![], driver: None },
            problems: vec![],
            advice: vec![],
        }
    }

    /// The only finding after `harm` was done to a healthy machine.
    fn found(harm: fn(&mut Checkup)) -> String {
        let mut facts = healthy();
        harm(&mut facts);
        let (mut found, advice) = diagnose(&facts);
        found.extend(advice);
        assert_eq!(found.len(), 1, "{found:?}");
        format!("{} {}", found[0].what, found[0].cure)
    }

    #[test]
    fn a_healthy_machine_without_a_gpu_has_no_findings() {
        assert_eq!(diagnose(&healthy()), (vec![], vec![]));
    }

    #[test]
    fn each_harm_is_found_with_its_cure() {
        assert!(found(|c| c.libtorch.version = Some("2.9.1".into())).contains("2.9.1"));
        assert!(found(|c| c.libtorch.cuda_error = Some("libcudnn.so.9 is missing".into())).contains("libcudnn.so.9"));
        assert!(found(|c| c.gpu.present = vec!["H200".into()]).contains("make setup TORCH="));
        assert!(found(|c| c.cpu.cores = 2).contains("8 threads on 2 cores"));
        let unseen = found(|c| {
            c.gpu.present = vec!["H200".into()];
            c.libtorch.cuda = Some("/torch/lib/libtorch_cuda.so".into());
        });
        assert!(unseen.contains("CUDA_VISIBLE_DEVICES"));
    }

    #[test]
    fn this_machine_can_be_examined() {
        let checkup = examine();
        assert_eq!(checkup.libtorch.version.as_deref(), Some(LIBTORCH_VERSION));
        assert!(checkup.to_string().contains("libtorch_cpu.so"));
        let json: serde_json::Value = serde_json::from_str(&doctor(true)).unwrap();
        assert!(json["cpu"]["cores"].as_u64().unwrap() >= 1);
    }
}
