//! A worker's Lua: one state, made at the worker's first script and bounded in memory, with the functions it has
//! compiled.
//!
//! The state is the worker's alone. What the running script may see of the command it belongs to is lent to it
//! for the time of the run (mlua's scopes), so nothing of a context outlives its command.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use mlua::{ChunkMode, Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use torc_protocol::error as text;
use torc_protocol::resp::Version;
use torc_protocol::shebang::{self, Declared};

use super::cache::{Sha, hex, sha_from_hex, sha1};
use super::call::Caller;
use super::error::{Caught, ScriptError, Stop, caught};
use super::running::{Registry, Running};
use super::{Request, convert, library};
use crate::exec::{Cx, Depth};
use crate::shard::Role;

/// Bytes that a worker's Lua may hold.
const MEMORY_BYTES: usize = 256 << 20;

/// A script that leaves more than this behind is followed by a collection.
const COLLECT_BYTES: usize = MEMORY_BYTES / 4;

/// Compiled functions that a worker keeps; beyond it all are dropped.
const MAX_FUNCTIONS: usize = 1024;

/// Instructions between two looks at whether the script shall go on.
const HOOK_INSTRUCTIONS: u32 = 100_000;

/// Uses of a compiled function after which its body is shown to the node's cache again, which may have dropped it.
const REMIND_USES: u32 = 64;

/// A worker's Lua; empty until its first script.
#[derive(Default)]
pub struct Engine {
    state: Option<Box<State>>,
    /// Who is served while a script goes on and on.
    pub(crate) meanwhile: Option<Meanwhile>,
    /// The store was full when the command under way was admitted.
    pub(crate) out_of_memory: bool,
}

/// How others are served while a script goes on for longer than `busy-reply-threshold`.
#[derive(Clone)]
pub struct Meanwhile {
    /// Nanoseconds of a clock that goes on.
    pub clock_ns: fn() -> u64,
    /// Called by the script's hook; the script holds its stripes, so this must not ask for any.
    pub serve: Rc<dyn Fn()>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("started", &self.state.is_some()).finish()
    }
}

/// What the hook, the library and the runner tell each other during a run.
#[derive(Default)]
pub(super) struct Control {
    /// Set: the script ends, whatever it tries.
    stop: Cell<Option<Stop>>,
    /// What SCRIPT KILL sees; it is entered in the registry at the first hook.
    running: RefCell<Arc<Running>>,
    registry: RefCell<Option<Arc<Registry>>>,
    entered: Cell<bool>,
    meanwhile: RefCell<Option<Meanwhile>>,
    /// From then on others are served meanwhile.
    busy_from_ns: Cell<u64>,
    /// The uncaught error and where it arose, noted before the stack is unwound.
    failure: RefCell<Option<Failure>>,
    /// The stripe of an undeclared key could not be had after a write.
    contended: Cell<bool>,
    /// What redis.setresp chose.
    pub(super) version: Cell<Version>,
}

/// An error that ended a script.
#[derive(Clone, Debug, Default)]
struct Failure {
    text: Vec<u8>,
    place: Option<(String, usize)>,
}

impl Control {
    /// Makes the script end; the error is to be raised.
    pub(super) fn stop(&self, why: Stop) -> mlua::Error {
        self.stop.set(Some(why));
        mlua::Error::external(why)
    }

    /// The error to raise when the script must end.
    pub(super) fn stopped(&self) -> Option<mlua::Error> {
        self.stop.get().map(mlua::Error::external)
    }

    /// Before a write: false when the script was killed.
    pub(super) fn begin_write(&self) -> bool {
        self.running.borrow().begin_write()
    }

    /// See [`Control::contended`].
    pub(super) fn note_contention(&self) {
        self.contended.set(true);
    }

    fn on_hook(&self) -> mlua::Result<VmState> {
        if let Some(error) = self.stopped() {
            return Err(error);
        }
        let running = self.running.borrow();
        if !self.entered.replace(true)
            && let Some(registry) = &*self.registry.borrow()
        {
            registry.enter(&running);
        }
        if let Some(meanwhile) = &*self.meanwhile.borrow()
            && (meanwhile.clock_ns)() >= self.busy_from_ns.get()
        {
            (meanwhile.serve)();
        }
        if running.is_killed() { Err(self.stop(Stop::Killed)) } else { Ok(VmState::Continue) }
    }

    fn begin(&self, registry: &Arc<Registry>, meanwhile: Option<&Meanwhile>, threshold: Duration) {
        let threshold_ns = u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX);
        self.busy_from_ns.set(meanwhile.map_or(u64::MAX, |m| (m.clock_ns)().saturating_add(threshold_ns)));
        *self.meanwhile.borrow_mut() = meanwhile.cloned();
        self.stop.set(None);
        *self.running.borrow_mut() = Arc::default();
        *self.registry.borrow_mut() = Some(registry.clone());
        self.entered.set(false);
        self.contended.set(false);
        *self.failure.borrow_mut() = None;
        self.version.set(Version::Resp2);
    }

    fn end(&self) {
        if self.entered.replace(false)
            && let Some(registry) = &*self.registry.borrow()
        {
            registry.leave(&self.running.borrow());
        }
        *self.meanwhile.borrow_mut() = None;
    }

    /// Notes an error that came without a look at the stack: memory ran out.
    fn note_unseen(&self, error: &Value) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            *failure = Some(Failure { text: failure_text(error), place: None });
        }
    }

    /// Notes the error that is about to end the script, while the stack still shows where it arose.
    fn note_failure(&self, lua: &Lua, error: &Value) {
        let text = failure_text(error);
        let place = (1..).map_while(|level| lua.inspect_stack(level, place_of)).flatten().next();
        *self.failure.borrow_mut() = Some(Failure { text, place });
    }
}

/// Chunk and line of a stack frame that belongs to a script.
fn place_of(frame: &mlua::Debug<'_>) -> Option<(String, usize)> {
    let source = frame.source();
    if source.what == "C" || source.source.as_deref() == Some(library::PRELUDE_NAME) {
        return None;
    }
    Some((source.source?.into_owned(), frame.current_line()?))
}

fn failure_text(error: &Value) -> Vec<u8> {
    let with_code = |text: &[u8]| [b"ERR ", text].concat();
    match error {
        Value::Error(error) => match caught(error) {
            Caught::Raised(raised) if raised.coded => raised.text.clone(),
            Caught::Raised(raised) => with_code(&raised.text),
            Caught::Stop => Vec::new(),
            Caught::Other => with_code(first_line(&error.to_string()).as_bytes()),
        },
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => text.as_bytes().to_vec(),
            _ => b"ERR unknown error".to_vec(),
        },
        Value::String(text) => with_code(&text.as_bytes()),
        other => with_code(other.to_string().unwrap_or_default().as_bytes()),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

struct Compiled {
    function: Function,
    declared: Declared,
    uses: u32,
    /// It failed to get the stripe of an undeclared key after it had written: it starts with all of them.
    whole_store: bool,
}

/// A started Lua.
struct State {
    lua: Lua,
    control: Rc<Control>,
    library: library::Library,
    functions: AHashMap<Sha, Compiled>,
    generation: u64,
}

impl Engine {
    /// Compiles a body to see whether it can be (SCRIPT LOAD).
    pub fn check(&mut self, body: &[u8]) -> Result<(), ScriptError> {
        let state = self.started()?;
        let (_, code) = shebang::split(body).map_err(ScriptError::Failed)?;
        compile(&state.lua, code).map(drop)
    }

    /// Forgets everything (SCRIPT FLUSH).
    pub fn reset(&mut self) {
        self.state = None;
    }

    fn started(&mut self) -> Result<&mut State, ScriptError> {
        if self.state.is_none() {
            self.state = Some(Box::new(State::new().map_err(|e| internal(&e))?));
        }
        self.state.as_deref_mut().ok_or_else(|| ScriptError::Failed(b"ERR no script engine".to_vec()))
    }

    /// Runs the script that was asked for and writes its reply.
    pub(super) fn run(&mut self, cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Result<(), ScriptError> {
        let generation = cx.node.scripts.generation();
        if self.state.as_ref().is_some_and(|state| state.generation != generation) {
            self.state = None;
        }
        let out_of_memory = self.out_of_memory;
        let meanwhile = self.meanwhile.clone();
        let state = self.started()?;
        state.generation = generation;
        let sha = if request.by_digest {
            sha_from_hex(request.script).ok_or_else(|| ScriptError::Failed(text::NOSCRIPT.into()))?
        } else {
            sha1(request.script)
        };
        state.ensure_compiled(cx, request, &sha)?;
        let Some(compiled) = state.functions.get(&sha) else {
            return Err(ScriptError::Failed(text::NOSCRIPT.into()));
        };
        let (function, declared) = (compiled.function.clone(), compiled.declared);
        refuse(cx, &declared, out_of_memory)?;
        if compiled.whole_store && cx.depth == Depth::Command && cx.node.shard.role() == Role::Plain {
            cx.lock_whole_store().map_err(|error| ScriptError::Failed(error.text().into_owned()))?;
        }
        let caller = Caller {
            read_only: request.read_only || declared.no_writes,
            check_memory: out_of_memory && !declared.allow_oom,
        };
        let result = state.execute(cx, request, &sha, (&function, meanwhile.as_ref()), caller);
        if state.control.contended.get()
            && let Some(compiled) = state.functions.get_mut(&sha)
        {
            compiled.whole_store = true;
        }
        result
    }
}

/// What a first line with flags forbids before the script begins.
fn refuse(cx: &Cx<'_, '_>, declared: &Declared, out_of_memory: bool) -> Result<(), ScriptError> {
    let role = cx.node.shard.role();
    let refused = if !declared.explicit {
        None
    } else if declared.no_cluster && role != Role::Plain {
        Some("ERR Can not run script on cluster, 'no-cluster' flag is set.")
    } else if !declared.no_writes && matches!(role, Role::Replica | Role::Joining) {
        Some("READONLY Can not run script with write flag on readonly replica.")
    } else if out_of_memory && !declared.no_writes && !declared.allow_oom {
        Some("OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'")
    } else {
        None
    };
    refused.map_or(Ok(()), |text| Err(ScriptError::Failed(text.into())))
}

fn internal(error: &mlua::Error) -> ScriptError {
    ScriptError::Failed(
        format!("ERR the script engine failed: {}", first_line(&error.to_string())).into_bytes(),
    )
}

fn compile(lua: &Lua, code: &[u8]) -> Result<Function, ScriptError> {
    let chunk = lua.load(code).set_name("@user_script").set_mode(ChunkMode::Text);
    chunk.into_function().map_err(|error| {
        let message = match &error {
            mlua::Error::SyntaxError { message, .. } => message.clone(),
            other => other.to_string(),
        };
        let message = first_line(&message);
        ScriptError::Failed(format!("ERR Error compiling script (new function): {message}").into_bytes())
    })
}

impl State {
    fn new() -> mlua::Result<State> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libs, LuaOptions::default())?;
        lua.set_memory_limit(MEMORY_BYTES)?;
        let control = Rc::new(Control::default());
        let noted = control.clone();
        let handler = lua.create_function(move |lua, error: Value| {
            noted.note_failure(lua, &error);
            Ok(error)
        })?;
        let library = library::install(&lua, &control, handler)?;
        let hook = control.clone();
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS), move |_, _| {
            hook.on_hook()
        })?;
        Ok(State { lua, control, library, functions: AHashMap::new(), generation: 0 })
    }

    fn ensure_compiled(
        &mut self,
        cx: &Cx<'_, '_>,
        request: &Request<'_>,
        sha: &Sha,
    ) -> Result<(), ScriptError> {
        let scripts = &cx.node.scripts;
        if let Some(compiled) = self.functions.get_mut(sha) {
            compiled.uses = compiled.uses.wrapping_add(1);
            if !request.by_digest && compiled.uses.is_multiple_of(REMIND_USES) {
                scripts.saw(*sha, request.script);
            }
            return Ok(());
        }
        let body: Arc<[u8]> = if request.by_digest {
            scripts.get(sha).ok_or_else(|| ScriptError::Failed(text::NOSCRIPT.into()))?
        } else {
            request.script.into()
        };
        let (declared, code) = shebang::split(&body).map_err(ScriptError::Failed)?;
        let function = compile(&self.lua, code)?;
        if !request.by_digest {
            scripts.saw(*sha, &body);
        }
        if self.functions.len() >= MAX_FUNCTIONS {
            self.functions.clear();
        }
        self.functions.insert(*sha, Compiled { function, declared, uses: 0, whole_store: false });
        Ok(())
    }

    fn execute(
        &mut self,
        cx: &mut Cx<'_, '_>,
        request: &Request<'_>,
        sha: &Sha,
        (function, meanwhile): (&Function, Option<&Meanwhile>),
        caller: Caller,
    ) -> Result<(), ScriptError> {
        let outer = (cx.depth, cx.db, cx.session.db, cx.version);
        cx.depth = Depth::Script;
        cx.session.db = cx.db;
        self.control.begin(cx.node.scripts.running(), meanwhile, cx.node.store.lock_timeout());
        let result = self.perform(cx, request, function, caller);
        self.control.end();
        (cx.depth, cx.db, cx.session.db, cx.version) = outer;
        let result = match result {
            Ok(Ok(value)) => {
                let script = self.control.version.get();
                convert::write_reply(&value, &mut cx.reply(), script).map_err(|e| internal(&e))
            }
            Ok(Err(())) => Err(self.failed(sha)),
            Err(error) => Err(match caught(&error) {
                Caught::Stop => self.failed(sha),
                _ => internal(&error),
            }),
        };
        if self.lua.used_memory() > COLLECT_BYTES {
            // A failing collection leaves the state as it was; the next script meets the limit.
            let _ = self.lua.gc_collect();
        }
        result
    }

    /// Runs the function; `Err(())` inside when it ended in an error that was noted.
    fn perform(
        &self,
        cx: &mut Cx<'_, '_>,
        request: &Request<'_>,
        function: &Function,
        caller: Caller,
    ) -> mlua::Result<Result<Value, ()>> {
        let keys = self.strings(request.rest.iter().take(request.keys))?;
        let arguments = self.strings(request.rest.iter().skip(request.keys))?;
        let run = caller.bind(request, cx, &self.control);
        self.lua.scope(|scope| {
            let call = scope.create_function(|lua, args| run.call(lua, args))?;
            let pcall = scope.create_function(|lua, args| run.pcall(lua, args))?;
            self.library.lend(keys, arguments, call, pcall)?;
            let result = self.library.run(function);
            self.library.take_back()?;
            Ok(result?.map_err(|error| self.control.note_unseen(&error)))
        })
    }

    fn strings<'a>(&self, items: impl Iterator<Item = &'a [u8]>) -> mlua::Result<Table> {
        let table = self.lua.create_table()?;
        for (index, item) in (1..).zip(items) {
            table.raw_set(index, self.lua.create_string(item)?)?;
        }
        Ok(table)
    }

    /// The error of a script that did not end by itself or not well.
    fn failed(&self, sha: &Sha) -> ScriptError {
        let mut failure = self.control.failure.borrow_mut().take().unwrap_or_default();
        match self.control.stop.get() {
            Some(Stop::WantsWholeStore) => return ScriptError::WantsWholeStore,
            Some(Stop::Killed) => failure.text = b"ERR Script killed by user with SCRIPT KILL.".to_vec(),
            None => {}
        }
        if failure.text.is_empty() {
            failure.text = b"ERR unknown error".to_vec();
        }
        let mut text = failure.text;
        text.extend_from_slice(b" script: ");
        text.extend_from_slice(hex(sha).as_bytes());
        if let Some((source, line)) = failure.place {
            text.extend_from_slice(format!(", on {source}:{line}.").as_bytes());
        }
        ScriptError::Failed(text)
    }
}
