//! A connection's turn while a script of its worker is under way: requests are refused, and replies leave.

use super::{Connection, End};
use crate::conn::Protocol;
use crate::conn::ahead::Ahead;
use crate::exec::Batch;

impl Connection {
    /// Reads once, has what came answered by `batch`, which touches no key, and writes. True when there is more to do,
    /// now or when the script has ended.
    pub fn serve_meanwhile(&mut self, batch: &mut Batch<'_, '_>, ahead: &mut Ahead) -> Result<bool, End> {
        // Requests of memcached wait: its errors do not say that nothing was done, and that it may be tried again.
        let waits = self.parked.is_some() || self.held.is_some() || self.barred.is_some();
        if waits || self.dialect.protocol() == Protocol::Memcached {
            return Ok(true);
        }
        if self.readable && !self.more && self.wants_input() {
            self.read()?;
        }
        self.execute(batch, ahead);
        self.deliver();
        self.flush()?;
        if self.closing && self.output.unsent() == 0 {
            return Err(End::Quiet);
        }
        self.rest();
        let goes_on = self.more || self.stirred || (self.readable && self.wants_input());
        self.queued = goes_on;
        Ok(goes_on)
    }

    /// Whether the connection can end without a lock of the store: it waits for nothing, in no queue.
    pub fn ends_by_itself(&self) -> bool {
        self.parked.is_none() && self.held.is_none() && self.barred.is_none()
    }
}
