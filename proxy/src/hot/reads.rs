//! A RESP client's read of one key, where copies are kept or requests shared.

use torc_protocol::resp::Version;

use super::copies::Form;
use super::flights::Share;
use super::serve::is_plain_read;
use crate::call::Call;
use crate::dispatch::render_of;
use crate::downstream::resp::Step;
use crate::reads::rule;
use crate::upstream::pending::Dest;

/// Runs `work` with the request's form.
fn with_form<R>(call: &mut Call<'_>, work: impl FnOnce(&mut Call<'_>, &Form<'_>) -> R) -> R {
    let mut own = std::mem::take(call.scratch);
    let args = call.request.encoded(&mut own);
    let form = Form { db: call.session.db, resp2: call.session.version == Version::Resp2, args };
    let result = work(call, &form);
    *call.scratch = own;
    result
}

/// Answers with a copy, if there is one. False: the request has to go its way.
#[inline(never)]
pub fn copied(call: &mut Call<'_>, key: &[u8]) -> bool {
    if !call.worker.hot.active.get() || !is_plain_read(call.request.command) {
        return false;
    }
    let render = render_of(call.session, call.request.command);
    let answered = with_form(call, |call, form| {
        call.worker.answer_with_copy(call.routes, (call.client, &*call.session), (form, key), render)
    });
    if answered {
        call.worker.saw_key(call.session.db, key, false);
    }
    answered
}

/// Sends a request of one key, or has it share another one; `hot`: it was found that the key is.
#[inline(never)]
pub fn send(call: &mut Call<'_>, dest: Dest, key: &[u8], hot: bool) -> Step {
    let render = render_of(call.session, call.request.command);
    let mut flight = None;
    if is_plain_read(call.request.command) {
        let share = with_form(call, |call, form| {
            if hot {
                let count = call.request.args.len();
                call.worker.keep_copies(call.routes, call.session, form, (count, key), dest);
            }
            match rule(call.session, &call.routes.table, key) {
                None => call.worker.share(&call.routes.table, call.client, (form, key), render),
                // What a replica may answer depends on what each client has written.
                Some(_) => Share::No,
            }
        });
        match share {
            Share::Joined => return Step::Done,
            Share::First(first) => flight = Some(first),
            Share::No => {}
        }
    }
    let seq = call.client.outbox.borrow_mut().open(render);
    let mut pending = call.pending(seq, dest, call.session.timeout_ms);
    pending.flight = flight;
    call.submit(pending, key);
    Step::Done
}
