//! Shared by the Rust peers: the same workloads, weights, timing and report line as common.py.
#![allow(dead_code)]
use std::time::Instant;

#[derive(Clone, Copy)]
pub struct W { pub dim: usize, pub heads: usize, pub hidden: usize, pub layers: usize, pub seq: usize, pub vocab: usize, pub rope: bool }
pub const LR: f64 = 1e-4;
pub const B1: f64 = 0.9;
pub const B2: f64 = 0.95;
pub const EPS: f64 = 1e-8;
pub const NORM_EPS: f64 = 1e-5;

pub struct Args { pub workload: String, pub w: W, pub threads: usize, pub samples: usize, pub budget: f64, pub dtype: String }

/// Reads `WORKLOAD [--threads N] [--samples N] [--budget SECONDS] [--dtype D]`, pins the process and sets RAYON_NUM_THREADS.
pub fn parse() -> Args {
    let v: Vec<String> = std::env::args().skip(1).collect();
    let get = |k: &str, d: &str| v.iter().position(|x| x == k).map(|i| v[i + 1].clone()).unwrap_or(d.to_string());
    let workload = v.first().cloned().unwrap_or("A".into());
    let w = match workload.as_str() {
        "A" => W { dim: 768, heads: 12, hidden: 2048, layers: 1, seq: 512, vocab: 0, rope: false },
        "B" => W { dim: 768, heads: 12, hidden: 2048, layers: 12, seq: 256, vocab: 32000, rope: true },
        "C" => W { dim: 288, heads: 6, hidden: 768, layers: 6, seq: 256, vocab: 32000, rope: true },
        _ => panic!("workload A, B or C"),
    };
    let threads: usize = get("--threads", "2").parse().unwrap();
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()); }
    #[cfg(target_os = "linux")]
    unsafe {
        let mut s: libc::cpu_set_t = std::mem::zeroed();
        (0..threads).for_each(|c| libc::CPU_SET(c, &mut s));
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &s);
    }
    Args { workload, w, threads, samples: get("--samples", "15").parse().unwrap(), budget: get("--budget", "60").parse().unwrap(), dtype: get("--dtype", "fp32") }
}

fn u24(seed: u64, i: u64) -> u64 {
    let mut z = ((seed << 32) + i).wrapping_add(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D049BB133111EB);
    (z ^ (z >> 31)) >> 40
}
pub fn uniform(seed: u64, n: usize, std: f64) -> Vec<f32> {
    (0..n as u64).map(|i| ((2.0 * u24(seed, i) as f64 / (1u64 << 24) as f64 - 1.0) * 3f64.sqrt() * std) as f32).collect()
}
pub fn tokens(w: &W) -> (Vec<u32>, Vec<u32>) {
    let t: Vec<u32> = (0..w.seq as u64 + 1).map(|i| (u24(4, i) % w.vocab as u64) as u32).collect();
    (t[..w.seq].to_vec(), t[1..].to_vec())
}
pub fn rope_tables(w: &W) -> (Vec<f32>, Vec<f32>) {
    let hd = w.dim / w.heads;
    let mut c = vec![];
    let mut s = vec![];
    for t in 0..w.seq {
        for i in 0..hd / 2 {
            let a = t as f64 / 10000f64.powf(2.0 * i as f64 / hd as f64);
            c.push(a.cos() as f32);
            s.push(a.sin() as f32);
        }
    }
    (c, s)
}

/// Most memory this process has had, MiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// The version of a crate in the text of a Cargo.lock.
pub fn version<'a>(lock: &'a str, name: &str) -> &'a str {
    let begins = format!("name = \"{name}\"\nversion = \"");
    lock.split_once(&begins).and_then(|(_, rest)| rest.split('"').next()).expect("a crate of the lock file")
}

/// `peer` is the name and the version.
pub fn bench(a: &Args, (peer, version): (&str, &str), gnorm: f64, mut step: impl FnMut() -> f64) {
    let losses: Vec<f64> = (0..4).map(|_| step()).collect();
    let mut v = vec![];
    let t0 = Instant::now();
    let mut last = 0.0;
    while v.len() < a.samples && (v.len() < 10 || t0.elapsed().as_secs_f64() < a.budget) {
        let t = Instant::now();
        last = step();
        v.push(t.elapsed().as_secs_f64() * 1e3);
    }
    let ok = losses.iter().all(|l| l.is_finite()) && gnorm.is_finite() && last.is_finite();
    v.sort_by(|x, y| x.total_cmp(y));
    println!("{} {} {} {} {:.2}  # min {:.2} n {} MiB {} version {} loss0 {:.6} gnorm {:.6} loss3 {:.6} {}",
        a.workload, peer, a.dtype, a.threads, v[v.len() / 2], v[0], v.len(), peak(), version, losses[0], gnorm, losses[3], if ok { "ok" } else { "NOT-FINITE" });
    if !ok { std::process::exit(1); }
}
