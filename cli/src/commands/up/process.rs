//! A child process of `torc up`: started with its log, watched, started again, stopped.

use std::error::Error;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use torc_runtime::clock::boottime_ms;

/// First pause before a process that ended is started again; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that ran for this long is taken for healthy: its next pause is the first one again.
const HEALTHY: Duration = Duration::from_secs(30);

/// In the environment of children: end with the process that started you.
pub const DIE_WITH_PARENT: &str = "TORC_DIE_WITH_PARENT";

/// See the module's text.
pub struct Process {
    /// `node-1` …
    pub name: String,
    args: Vec<OsString>,
    password: Option<String>,
    /// Its log.
    pub log: PathBuf,
    child: Option<Child>,
    started_ms: u64,
    again_at_ms: Option<u64>,
    pause: Duration,
}

/// What became of a process since the last look.
pub enum Turn {
    /// Nothing.
    Same,
    /// It ended.
    Ended(ExitStatus),
    /// It was started again.
    Again,
}

impl Process {
    /// A process that does not run yet.
    pub fn new(name: String, args: Vec<OsString>, password: Option<String>, logs: &Path) -> Process {
        let log = logs.join(format!("{name}.log"));
        Process {
            name,
            args,
            password,
            log,
            child: None,
            started_ms: 0,
            again_at_ms: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Starts it.
    pub fn start(&mut self) -> Result<(), Box<dyn Error>> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|error| format!("cannot write the log {}: {error}", self.log.display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(&self.args)
            .env(DIE_WITH_PARENT, "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for `torc up`, which stops its children in order.
            .process_group(0);
        if let Some(password) = &self.password {
            command.env("TORC_REQUIREPASS", password);
        }
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", self.name))?;
        self.child = Some(child);
        self.started_ms = boottime_ms();
        self.again_at_ms = None;
        Ok(())
    }

    /// Its process id; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Looks after it: notices its end, starts it again when its pause is over (if `restart`).
    pub fn look(&mut self, restart: bool) -> Result<Turn, Box<dyn Error>> {
        let now_ms = boottime_ms();
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait()? else { return Ok(Turn::Same) };
            self.child = None;
            if now_ms.saturating_sub(self.started_ms) >= HEALTHY.as_millis() as u64 {
                self.pause = FIRST_PAUSE;
            }
            if restart {
                self.again_at_ms = Some(now_ms + self.pause.as_millis() as u64);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            return Ok(Turn::Ended(status));
        }
        if self.again_at_ms.is_some_and(|at| now_ms >= at) {
            self.start()?;
            return Ok(Turn::Again);
        }
        Ok(Turn::Same)
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.as_ref().and_then(|c| Pid::from_raw(c.id() as i32)) {
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        match &mut self.child {
            None => true,
            Some(child) => match child.try_wait() {
                Ok(None) => false,
                Ok(Some(_)) | Err(_) => {
                    self.child = None;
                    true
                }
            },
        }
    }

    /// The end of its log, for an error message.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A child that was told so ends when `torc up` does, however that ends.
pub fn follow_parent() {
    if std::env::var_os(DIE_WITH_PARENT).is_some() {
        let told = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
        // The parent may have ended before the call.
        if told.is_ok() && rustix::process::getppid().is_none_or(Pid::is_init) {
            std::process::exit(143);
        }
    }
}
