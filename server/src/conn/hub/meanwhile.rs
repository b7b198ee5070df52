//! Others are served while a script of the worker goes on for longer than `busy-reply-threshold`.
//!
//! The script's hook calls, deep inside the turn of the connection whose script it is. That one is out of its seat, the
//! worker's executor is in use, and stripes are locked that nobody may ask for here. So there is an executor of its own,
//! which answers BUSY to all but a few commands, and connections that wait for something are left alone.

use super::{Batch, Executor, Hub};
use crate::conn::ahead::Ahead;
use crate::conn::connection::End;
use crate::conn::hub::Arrival;

/// Connections that one call serves at most: the script is to go on as well.
const MAX_SERVED: usize = 256;

impl Hub {
    /// Reads, refuses and writes for whoever has something to do. Called again and again while the script is running.
    #[cold]
    pub(super) fn serve_meanwhile(&mut self) {
        self.let_in();
        // What this look finds the runtime may have been about to tell: where there is more, the next look is due.
        match self.look_at_sockets() {
            Ok(count) => self.again |= count > 0,
            Err(error) => {
                tracing::warn!(%error, "nobody can be served while a script is running");
                return;
            }
        }
        self.look_at_others();
        // The group under way has read already and waits for the script to end.
        let count = self.busy.len().min(MAX_SERVED);
        let mut seats = self.group.clone();
        let in_group = seats.len();
        seats.extend(self.busy.drain(..count));
        let worker = self.worker.clone();
        let node = &worker.node;
        let mut exec = self.other_exec.take().unwrap_or_else(|| {
            Box::new(Executor::new(node, worker.index, 0).with_clock(torc_runtime::clock::boottime_ns))
        });
        let mut batch = Batch::begin_meanwhile(node, &mut exec, worker.now());
        let mut ahead = Ahead::default();
        for (at, seat) in seats.into_iter().enumerate() {
            let Some(connection) = &mut self.seats[seat as usize].connection else { continue };
            let goes_on = match connection.serve_meanwhile(&mut batch, &mut ahead) {
                Ok(goes_on) => goes_on,
                // Whose end needs no lock of the store.
                Err(end) if connection.ends_by_itself() => {
                    self.end_meanwhile(seat, end);
                    false
                }
                Err(_) => true,
            };
            if goes_on && at >= in_group {
                self.busy.push_back(seat);
            }
        }
        batch.end();
        self.other_exec = Some(exec);
    }

    /// Gives those a seat whom the acceptor has handed over.
    fn let_in(&mut self) {
        let Some(fresh) = self.fresh.clone() else { return };
        while let Ok(accepted) = fresh.borrow_mut().try_recv() {
            self.seat(Arrival::Fresh(accepted));
        }
    }

    /// As [`Hub::end`], but the seat is not given away before the group under way has ended.
    fn end_meanwhile(&mut self, seat: u32, end: End) {
        self.end(seat, end);
        if self.group.contains(&seat) {
            self.free.retain(|free| *free != seat);
            self.vacated.push(seat);
        }
    }
}
