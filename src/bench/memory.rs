//! What a process holds in memory.
//!
//! Read from the system, so that it counts what the process has and not what it believes. Where there is
//! no such process or no `/proc`, there is no figure.

/// `VmRSS` of a process.
pub fn resident_mib(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kib) / 1024.0)
}
