//! Processes as the kernel accounts for them: CPU time, memory, cores, limits.
//!
//! Invariant: CPU time comes from the scheduler's own nanosecond count (`schedstat`), user and system
//! together, over every thread of every process of the proxy under test. Linux only, as is nginx's
//! epoll that it is compared with.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock::now_ns;
use crate::error::{LoadError, Result, While};

/// The kernel's unit of time in `/proc/stat`: USER_HZ, which is 100 on every Linux of today.
const TICK_NS: u64 = 10_000_000;

/// Pins this process (and the children it starts) to these cores.
pub fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).while_doing(format!("pinning to cores {cores:?}"))
}

/// Raises the limit of open files as far as it goes; returns it.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    limit.unwrap_or(u64::MAX)
}

/// Reads what the processes of one proxy have used.
pub struct Meter {
    pids: Vec<u32>,
    proxy_cores: Vec<usize>,
    /// Whether this process may run on the proxy's cores.
    is_shared: bool,
    /// Threads may end within the window: whole processes are read, coarser, instead of their threads.
    may_end_threads: bool,
}

/// Counts since some time in the past; subtract two.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// When it was taken, in nanoseconds.
    pub at_ns: u64,
    /// CPU time of the proxy.
    pub cpu_ns: u64,
    /// Busy time of the proxy's cores, whoever used them but this process.
    pub proxy_core_ns: u64,
    /// Time that the proxy was ready to run but had no core.
    pub wait_ns: u64,
    /// CPU time of this process: backend and clients.
    pub load_cpu_ns: u64,
    /// Time that this process was ready to run but had no core.
    pub load_wait_ns: u64,
}

impl Meter {
    /// A meter for a process and the children it has now.
    pub fn new(pid: u32, proxy_cores: Vec<usize>) -> Result<Self> {
        let mut pids = vec![pid];
        pids.extend(children(pid)?.into_iter().map(|child| child.pid));
        let own = sched_getaffinity(None).while_doing("asking for the cores")?;
        let is_shared = proxy_cores.iter().any(|core| own.is_set(*core));
        Ok(Self {
            pids,
            proxy_cores,
            is_shared,
            may_end_threads: false,
        })
    }

    /// A meter for these processes alone, whatever they are; its CPU time is exact to 10 ms each, and the
    /// time that they waited for a core is not known.
    pub fn of(pids: &[u32]) -> Self {
        Self {
            pids: pids.to_vec(),
            proxy_cores: Vec::new(),
            is_shared: false,
            may_end_threads: true,
        }
    }

    /// How many processes it reads.
    pub fn processes(&self) -> usize {
        self.pids.len()
    }

    /// The counts now.
    pub fn read(&self) -> Result<Reading> {
        let stat = fs::read_to_string("/proc/stat").while_doing("reading /proc/stat")?;
        let (cpu_ns, wait_ns) = match self.may_end_threads {
            true => (used_ns(&self.pids)?, 0),
            false => scheduled_ns(&self.pids)?,
        };
        let (load_cpu_ns, load_wait_ns) = scheduled_ns(&[std::process::id()])?;
        let busy_ns = self.proxy_cores.iter().map(|core| busy_ns(&stat, *core));
        let own_ns = if self.is_shared { load_cpu_ns } else { 0 };
        Ok(Reading {
            at_ns: now_ns(),
            cpu_ns,
            proxy_core_ns: busy_ns.sum::<u64>().saturating_sub(own_ns),
            wait_ns,
            load_cpu_ns,
            load_wait_ns,
        })
    }

    /// Memory in bytes: the proportional set size, so that what a master shares with its worker counts once.
    pub fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in &self.pids {
            let path = format!("/proc/{pid}/smaps_rollup");
            let rollup = fs::read_to_string(&path).while_doing(format!("reading {path}"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kilobytes =
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            sum +=
                kilobytes.ok_or_else(|| LoadError::Contender(format!("no Pss in {path}")))? * 1024;
        }
        Ok(sum)
    }
}

/// Time on a core, and time waited for one.
fn scheduled_ns(pids: &[u32]) -> Result<(u64, u64)> {
    let (mut ran, mut waited) = (0, 0);
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks)
            .while_doing(format!("reading {tasks}"))?
            .flatten()
        {
            // A thread may end between the two reads; it then has little to tell.
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut times = stat.split(' ').map(|time| time.parse().unwrap_or(0));
            ran += times.next().unwrap_or(0);
            waited += times.next().unwrap_or(0);
        }
    }
    Ok((ran, waited))
}

/// CPU time of whole processes, user and system, their ended threads' too.
fn used_ns(pids: &[u32]) -> Result<u64> {
    let mut ticks = 0;
    for pid in pids {
        for place in TIMES {
            let used = stat_field(*pid, place);
            ticks += used.ok_or_else(|| LoadError::Usage(format!("there is no process {pid}")))?;
        }
    }
    Ok(ticks * TICK_NS)
}

/// A process that another one started.
pub struct Child {
    /// Its id.
    pub pid: u32,
    /// When it began, in the kernel's ticks: an id may be used again, an id with its beginning is not.
    began: u64,
}

impl Child {
    /// Whether it is still there.
    pub fn is_alive(&self) -> bool {
        stat_field(self.pid, BEGAN) == Some(self.began)
    }
}

/// The children that a process has now.
pub fn children(pid: u32) -> Result<Vec<Child>> {
    let entries = fs::read_dir("/proc").while_doing("reading /proc")?;
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = pids.filter(|child| stat_field(*child, PARENT) == Some(u64::from(pid)));
    Ok(own
        .filter_map(|pid| {
            let began = stat_field(pid, BEGAN)?;
            Some(Child { pid, began })
        })
        .collect())
}

/// Places in `/proc/PID/stat`, counted from behind the name.
const PARENT: usize = 1;
const TIMES: [usize; 2] = [11, 12];
const BEGAN: usize = 19;

fn stat_field(pid: u32, place: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(place)?.parse().ok()
}

fn busy_ns(stat: &str, core: usize) -> u64 {
    let name = format!("cpu{core} ");
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix(&name)) else {
        return 0;
    };
    let ticks: Vec<u64> = line
        .split_whitespace()
        .filter_map(|tick| tick.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal: all but the fourth and the fifth.
    let busy: u64 = ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .map(|(_, t)| t)
        .sum();
    busy * TICK_NS
}
