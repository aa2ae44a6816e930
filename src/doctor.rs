//! `gauntlet doctor`: what this machine offers, what the program runs with, and what is wrong if something is.
//!
//! [`examine`] gathers the facts, `diagnose` judges them and `Display` prints both. How libtorch's
//! CUDA part is found is told in `torch/src/cuda.rs`.

use gauntlet_torch::LIBTORCH_VERSION;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fmt, fs, thread};

/// The report as text for a person, or as JSON. Uses CUDA, so `gauntlet_torch::load_cuda` must have been called.
pub fn doctor(json: bool) -> String {
    let checkup = examine();
    if json {
        serde_json::to_string_pretty(&checkup).expect("numbers, strings and paths that were printable")
    } else {
        checkup.to_string()
    }
}

/// The facts, and what they mean.
#[derive(Debug, Serialize)]
pub struct Checkup {
    /// Version of this program.
    pub gauntlet: &'static str,
    /// The commit that it was built from; empty where it was built outside git.
    pub commit: &'static str,
    /// Whether its sources differed from that commit.
    pub dirty: bool,
    /// Hash of its sources and of the versions of what it is built on.
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
    /// What will not work as it is.
    pub problems: Vec<Finding>,
    /// What works, but could be better.
    pub advice: Vec<Finding>,
}

/// The libtorch that this process runs with.
#[derive(Debug, Serialize)]
pub struct Libtorch {
    /// As it says itself.
    pub version: Option<String>,
    /// Its libtorch_cpu.so, links resolved.
    pub path: Option<String>,
    /// Its libtorch_cuda.so, where one was found and loaded.
    pub cuda: Option<String>,
    /// Why a libtorch_cuda.so that was asked for or found is not loaded.
    pub cuda_error: Option<String>,
}

/// The processor.
#[derive(Debug, Serialize)]
pub struct Cpu {
    /// As Linux names it.
    pub model: Option<String>,
    /// Those that this process may run on.
    pub cores: usize,
    /// The vector instructions that libtorch uses here.
    pub instructions: Option<String>,
}

/// In bytes; a container's limit counts.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// All that there is.
    pub total: Option<u64>,
    /// What could be had now, without swapping.
    pub available: Option<u64>,
}

/// Threads of tensor operations.
#[derive(Debug, Serialize)]
pub struct Threads {
    /// What libtorch takes where a trial does not say.
    pub default: usize,
    /// The variables that change how threads start, wait and are bound, as far as they are set.
    pub environment: BTreeMap<&'static str, String>,
}

/// Graphics processors.
#[derive(Debug, Serialize)]
pub struct Gpu {
    /// How many libtorch can use.
    pub usable: usize,
    /// Those that the NVIDIA driver knows, by model.
    pub present: Vec<String>,
    /// Version of the NVIDIA driver.
    pub driver: Option<String>,
}

/// Something that should be otherwise, and how to get there.
#[derive(Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What is.
    pub what: String,
    /// What to do.
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

/// Looks at the machine. Uses CUDA, so `gauntlet_torch::load_cuda` must have been called.
pub fn examine() -> Checkup {
    // Asked again, it tells how the loading at start went.
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
    let version = libtorch.version.as_deref().unwrap_or("of unknown version");
    (version != LIBTORCH_VERSION).then(|| Finding {
        what: format!("the libtorch that runs is {version}, and gauntlet is written for {LIBTORCH_VERSION}"),
        cure: "take the other one out of LD_LIBRARY_PATH, or run `make setup` and build again".into(),
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
            what: format!("libtorch's CUDA part is loaded, but it sees none of {}", gpu.present.join(", ")),
            cure: "look at CUDA_VISIBLE_DEVICES, and at the driver (CUDA 13 needs 580 or newer)".into(),
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
    // Where the process sits in a container, its own limit lies here; "max" means that there is none.
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
        writeln!(f, "CUDA      {}", libtorch.cuda.as_deref().unwrap_or("no libtorch_cuda.so is loaded"))?;
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
        if self.problems.is_empty() { writeln!(f, "nothing is wrong") } else { Ok(()) }
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

    /// The one thing that is found after `harm` was done to a healthy machine.
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
