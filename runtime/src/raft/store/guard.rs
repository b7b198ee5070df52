//! Turns a panic of the database library over a damaged file into a named error.
//!
//! redb asserts what it believes about its own pages; a damaged file can break such a belief. Where
//! panics unwind we catch them; where they abort, a hook names the file in the log first. It
//! matters at the start only: afterwards pages come from memory.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::StoreError;

static HOOK: Once = Once::new();

thread_local! {
    /// The file that this thread is opening.
    static OPENING: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Runs `open` on the file at `path`; a panic in it is [`StoreError::Corrupt`].
pub(super) fn guarded<T>(path: &Path, open: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    HOOK.call_once(install_hook);
    OPENING.with(|opening| *opening.borrow_mut() = Some(path.to_owned()));
    let result = catch_unwind(AssertUnwindSafe(open));
    OPENING.with(|opening| *opening.borrow_mut() = None);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(damaged(path, text))
    })
}

fn damaged(path: &Path, text: &str) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), what: format!("its pages contradict each other ({text})") }
}

fn install_hook() {
    let previous = take_hook();
    set_hook(Box::new(move |panic| {
        let opening = OPENING.with(|opening| opening.try_borrow().ok().and_then(|path| path.clone()));
        match opening {
            Some(path) => tracing::error!("{}", damaged(&path, &panic.to_string())),
            None => previous(panic),
        }
    }));
}
