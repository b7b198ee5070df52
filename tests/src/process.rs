//! Child processes of the tests.
//!
//! A [`Process`] owns its child: dropped, it is killed by its pid and waited for. A [`Workdir`] owns a
//! temporary folder, which stays when the test panics (or `TORC_KEEP_DIRS` is set), so that logs can
//! be read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a started process may take until it answers, on a loaded machine.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a process may take to end after SIGTERM before it is killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two looks at something that has not happened yet.
pub const POLL: Duration = Duration::from_millis(10);

/// A running child process with its output in a log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output appended to `log`. A `torc` ends with the thread that started it, also when
    /// the test is killed and nobody is dropped.
    ///
    /// # Errors
    /// What the operating system says to opening the log or starting the program.
    pub fn start(name: &str, mut command: Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let child =
            command.env("TORC_DIE_WITH_PARENT", "1").stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), ended: None })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has written so far.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The exit status when the process has ended.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Polls `ready` until it gives a value.
    ///
    /// # Panics
    /// When the process ends first or [`START_DEADLINE`] passes; the message holds the log.
    pub fn wait_until<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(value) = ready() {
                return value;
            }
            if let Some(status) = self.try_ended() {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, self.log_text());
            }
            assert!(
                Instant::now() < deadline,
                "{}: no {what} within {START_DEADLINE:?}:\n{}",
                self.name,
                self.log_text()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal to the process, if it still runs.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        if self.try_ended().is_none() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Asks the process to end with SIGTERM and waits for it.
    ///
    /// # Panics
    /// When it does not end within [`STOP_DEADLINE`].
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            if let Some(status) = self.try_ended() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {STOP_DEADLINE:?} of SIGTERM:\n{}",
                self.name,
                self.log_text()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Kills the process (SIGKILL) and waits for it.
    pub fn kill(&mut self) {
        if self.try_ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A temporary folder of one process or test.
#[derive(Debug)]
pub struct Workdir(Option<tempfile::TempDir>);

impl Workdir {
    /// Makes a new folder whose name starts with `torc-` and `name`.
    ///
    /// # Panics
    /// When the temporary folder of the system cannot be written.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("torc-{name}-")).tempdir();
        Self(Some(dir.expect("a temporary folder can be made")))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), tempfile::TempDir::path)
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if (std::thread::panicking() || std::env::var_os("TORC_KEEP_DIRS").is_some())
            && let Some(dir) = self.0.take()
        {
            eprintln!("kept {}", dir.keep().display());
        }
    }
}
