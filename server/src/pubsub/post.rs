//! Tells the connections of a worker that they have got messages: one wake-up of the worker's thread for all that came
//! since it last looked.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clients::Client;

/// See the module's text. The list is as long as connections have mailboxes, at most: each is in it once.
#[derive(Debug, Default)]
pub struct Post {
    ready: Mutex<Vec<Arc<Client>>>,
    notify: Notify,
}

impl Post {
    /// A connection of the worker has something in its mailbox.
    pub fn tell(&self, client: Arc<Client>) {
        let mut ready = self.ready.lock();
        ready.push(client);
        let first = ready.len() == 1;
        drop(ready);
        if first {
            self.notify.notify_one();
        }
    }

    /// Wakes connections as they get messages; on the worker's own thread, for ever.
    pub async fn deliver(&self) {
        loop {
            self.notify.notified().await;
            let ready = std::mem::take(&mut *self.ready.lock());
            ready.iter().for_each(|client| client.wake());
        }
    }
}
