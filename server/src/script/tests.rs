//! Scripts through EVAL, against what Redis 7 answers.

use std::time::{Duration, Instant};

use crate::exec::Session;
use crate::exec::testing::Harness;
use crate::settings::Settings;

fn eval(t: &mut Harness, script: &str, rest: &[&str]) -> String {
    let count = rest.len().to_string();
    let args = ["EVAL", script, &count].into_iter().chain(rest.iter().copied());
    String::from_utf8_lossy(&t.run_args(args)).into_owned()
}

/// The reply to a script without keys.
fn run(t: &mut Harness, script: &str) -> String {
    eval(t, script, &[])
}

/// The reply to a script, which must be an error, without the place that it names.
#[track_caller]
fn error(t: &mut Harness, script: &str) -> String {
    let reply = run(t, script);
    assert!(reply.starts_with('-'), "{script}: {reply}");
    reply.split(" script: ").next().unwrap_or_default().trim_end().trim_start_matches('-').to_owned()
}

#[test]
fn values_become_replies() {
    let mut t = Harness::new();
    for (script, reply) in [
        ("return 1.99, 2", ":1\r\n"),
        ("return -3.7", ":-3\r\n"),
        ("return 1e30", ":-9223372036854775808\r\n"),
        ("return 0/0", ":-9223372036854775808\r\n"),
        ("return 'a'", "$1\r\na\r\n"),
        ("return", "$-1\r\n"),
        ("return false", "$-1\r\n"),
        ("return true", ":1\r\n"),
        ("return function() end", "$-1\r\n"),
        ("return {1,2,nil,3}", "*2\r\n:1\r\n:2\r\n"),
        ("return {1.5,true,false,'x',{2}}", "*5\r\n:1\r\n:1\r\n$-1\r\n$1\r\nx\r\n*1\r\n:2\r\n"),
        ("return {err='MY boom'}", "-MY boom\r\n"),
        ("return {err='a\\r\\nb'}", "-a  b\r\n"),
        ("return {ok='fine'}", "+fine\r\n"),
        ("return {1,{err='inner'},{ok='st'}}", "*3\r\n:1\r\n-inner\r\n+st\r\n"),
        ("return {double=3.5}", "$3\r\n3.5\r\n"),
        ("return {map={a=1}}", "*2\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", "*1\r\n$1\r\na\r\n"),
        ("return {big_number='123'}", "$3\r\n123\r\n"),
        ("return {verbatim_string={string='abc',format='txt'}}", "$3\r\nabc\r\n"),
        ("return {a=1}", "*0\r\n"),
    ] {
        assert_eq!(run(&mut t, script), reply, "{script}");
    }
    t.resp3();
    for (script, reply) in [
        ("return {double=3.5}", ",3.5\r\n"),
        ("return {map={a=1}}", "%1\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", "~1\r\n$1\r\na\r\n"),
        ("return {big_number='123'}", "(123\r\n"),
        ("return {verbatim_string={string='abc',format='txt'}}", "=7\r\ntxt:abc\r\n"),
        ("return {true,false}", "*2\r\n:1\r\n_\r\n"),
        ("redis.setresp(3) return {true,false}", "*2\r\n#t\r\n#f\r\n"),
    ] {
        assert_eq!(run(&mut t, script), reply, "{script}");
    }
}

#[test]
fn nesting_costs_no_stack() {
    let mut t = Harness::new();
    let reply = run(&mut t, "local a = {} for i=1,20000 do a={a} end return a");
    assert!(reply.ends_with("-ERR reached lua stack limit\r\n"));
    let loops = "local a={} a.x=a return cjson.encode(a)";
    assert_eq!(error(&mut t, loops), "ERR user_script:1: Cannot serialise, excessive nesting (1001)");
    let deep = "return #cjson.encode(cjson.decode(string.rep('[',1000)..string.rep(']',1000)))";
    // The innermost array is empty, and so is an object afterwards.
    assert_eq!(run(&mut t, deep), ":2000\r\n");
    let deeper = "return cjson.decode(string.rep('[',1001)..string.rep(']',1001))";
    assert_eq!(error(&mut t, deeper), "ERR user_script:1: Found too many nested data structures (1001)");
    let packed = "return type(cmsgpack.unpack(string.rep('\\145',200)..'\\192'))";
    assert_eq!(run(&mut t, packed), "$5\r\ntable\r\n");
    let bad = "return cmsgpack.unpack(string.rep('\\145',100000))";
    assert_eq!(error(&mut t, bad), "ERR user_script:1: Bad data format in input.");
}

#[test]
fn replies_become_values() {
    let mut t = Harness::new();
    let get =
        "redis.call('set',KEYS[1],'v') return {redis.call('get',KEYS[1]), type(redis.call('get',KEYS[2]))}";
    assert_eq!(eval(&mut t, get, &["k", "nokey"]), "*2\r\n$1\r\nv\r\n$7\r\nboolean\r\n");
    assert_eq!(eval(&mut t, "return redis.call('set',KEYS[1],1).ok", &["k"]), "$2\r\nOK\r\n");
    assert_eq!(eval(&mut t, "return type(redis.call('incr',KEYS[1]))", &["k"]), "$6\r\nnumber\r\n");
    let three =
        "redis.setresp(3) redis.call('hset',KEYS[1],'f','v') return redis.call('hgetall',KEYS[1]).map.f";
    assert_eq!(eval(&mut t, three, &["h"]), "$1\r\nv\r\n");
    let two = "return redis.call('hgetall',KEYS[1])";
    assert_eq!(eval(&mut t, two, &["h"]), "*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    let nothing = "redis.setresp(3) return type(redis.call('get',KEYS[1]))";
    assert_eq!(eval(&mut t, nothing, &["nokey"]), "$3\r\nnil\r\n");
    for (number, text) in
        [("12.5", "12.5"), ("3.0", "3"), ("1e20", "1e+20"), ("10000000000000001", "10000000000000000")]
    {
        let script = format!("redis.call('set',KEYS[1],{number}) return redis.call('get',KEYS[1])");
        assert_eq!(eval(&mut t, &script, &["k"]), format!("${}\r\n{text}\r\n", text.len()));
    }
}

#[test]
fn errors_say_where() {
    let mut t = Harness::new();
    assert_eq!(t.run("SET k v"), "+OK\r\n");
    for (script, reply) in [
        (
            "return redis.call('hget','k','v')",
            "-WRONGTYPE Operation against a key holding the wrong kind of value script: \
             %, on @user_script:1.\r\n",
        ),
        ("error('boom')", "-ERR user_script:1: boom script: %, on @user_script:1.\r\n"),
        ("error('boom',0)", "-ERR boom script: %, on @user_script:1.\r\n"),
        ("error({err='MY boom'})", "-MY boom script: %, on @user_script:1.\r\n"),
        ("error()", "-ERR nil script: %, on @user_script:1.\r\n"),
        (
            "local function f() error('deep') end\nf()",
            "-ERR user_script:1: deep script: %, on @user_script:1.\r\n",
        ),
        (
            "\nlocal x = nil + 1",
            "-ERR user_script:2: attempt to perform arithmetic on a nil value script: %, on @user_script:2.\r\n",
        ),
        (
            "return foo",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'foo' script: \
             %, on @user_script:1.\r\n",
        ),
        (
            "return bad syntax",
            "-ERR Error compiling script (new function): user_script:1: '<eof>' expected near 'syntax'\r\n",
        ),
    ] {
        let sha = super::hex(&super::sha1(script.as_bytes()));
        assert_eq!(run(&mut t, script), reply.replace('%', &sha), "{script}");
    }
    for (script, text) in [
        ("return redis.call('incr')", "ERR Wrong number of args calling Redis command from script"),
        ("return redis.call()", "ERR Please specify at least one argument for this redis lib call"),
        ("return redis.call('nosuch')", "ERR Unknown Redis command called from script"),
        ("return redis.call('client','nosuch')", "ERR Unknown Redis command called from script"),
        (
            "return redis.call('set','k',{})",
            "ERR Lua redis lib command arguments must be strings or integers",
        ),
        ("return redis.call('multi')", "ERR This Redis command is not allowed from script"),
        ("return redis.call('eval','return 1',0)", "ERR This Redis command is not allowed from script"),
        ("redis.log('x')", "ERR redis.log() requires two arguments or more."),
        ("redis.log(99,'x')", "ERR Invalid debug level."),
        ("redis.setresp(4)", "ERR RESP version must be 2 or 3."),
        ("return redis.sha1hex()", "ERR wrong number of arguments"),
        ("return math.random(0)", "ERR user_script:1: bad argument #1 to 'random' (interval is empty)"),
        ("return redis.error_reply('boom')", "ERR boom"),
        ("return redis.error_reply('MY boom')", "MY boom"),
        ("return redis.error_reply('-x boom')", "x boom"),
        ("return redis.error_reply()", "ERR wrong number or type of arguments"),
        ("return redis.pcall('nosuch')", "ERR Unknown Redis command called from script"),
        (
            "#!lua flags=no-writes\nreturn redis.call('set','k','v')",
            "ERR Write commands are not allowed from read-only scripts.",
        ),
        ("#!lua flags=bad\nreturn 1", "ERR Unexpected flag in script shebang: bad"),
    ] {
        assert_eq!(error(&mut t, script), text, "{script}");
    }
    let ro = t.run_args(["EVAL_RO", "return redis.call('set',KEYS[1],'x')", "1", "k"]);
    assert!(ro.starts_with(b"-ERR Write commands are not allowed from read-only scripts."));
    assert_eq!(t.run("GET k"), "$1\r\nv\r\n");
    assert_eq!(t.run("EVAL 'return 1' x"), "-ERR value is not an integer or out of range\r\n");
    assert_eq!(t.run("EVAL 'return 1' -1"), "-ERR Number of keys can't be negative\r\n");
    assert_eq!(t.run("EVAL 'return 1' 3 a"), "-ERR Number of keys can't be greater than number of args\r\n");
}

#[test]
fn caught_errors_are_texts() {
    let mut t = Harness::new();
    assert_eq!(t.run("SET k v"), "+OK\r\n");
    let texts = "local ok,e=pcall(redis.call,'hget','k','f') return {tostring(ok),type(e),e}";
    assert!(run(&mut t, texts).ends_with(
        "$6\r\nstring\r\n$65\r\nWRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    ));
    assert_eq!(run(&mut t, "return select(2,pcall(error,{err='y'}))"), "$1\r\ny\r\n");
    assert_eq!(run(&mut t, "local ok,e=pcall(cjson.decode,'{') return e:sub(1,8)"), "$8\r\nExpected\r\n");
    let handled =
        "local ok,e=xpcall(function() redis.call('nosuch') end, function(e) return 'got '..e end) return e";
    assert_eq!(run(&mut t, handled), "$48\r\ngot ERR Unknown Redis command called from script\r\n");
    let thrown = "local co=coroutine.create(function() error('x',0) end) return {coroutine.resume(co)}";
    assert_eq!(run(&mut t, thrown), "*2\r\n$-1\r\n$1\r\nx\r\n");
    let yielded = "return coroutine.wrap(function() coroutine.yield(redis.call('get','k')) end)()";
    assert_eq!(run(&mut t, yielded), "$1\r\nv\r\n");
    assert_eq!(
        run(&mut t, "return redis.pcall('hget','k','f').err"),
        "$65\r\nWRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    );
}

#[test]
fn scripts_leave_nothing_behind() {
    let mut t = Harness::new();
    for script in [
        "foo=1",
        "redis.call=nil",
        "_G.x=1",
        "KEYS=1",
        "string.upper=nil",
        "getmetatable('').__index=nil",
        "getmetatable('').__index.upper=nil",
        "rawset(_G,'x',1)",
        "rawset(redis,'call',1)",
        "setmetatable(_G,{})",
        "setmetatable(redis,{})",
        "cjson.encode=1",
        "getmetatable(_G).__index=nil",
    ] {
        let reply = run(&mut t, script);
        let refused =
            reply.contains("Attempt to modify a readonly table") || reply.contains("attempt to index");
        assert!(refused, "{script}: {reply}");
    }
    // What the table library puts into a sealed table does not outlast the script.
    run(&mut t, "table.insert(redis,1) table.insert(_G,2)");
    assert_eq!(
        run(&mut t, "return {redis[1] or 'none', rawget(_G,1) or 'none'}"),
        "*2\r\n$4\r\nnone\r\n$4\r\nnone\r\n"
    );
    for name in [
        "dofile", "loadfile", "print", "require", "module", "newproxy", "getfenv", "setfenv", "io", "debug",
        "package",
    ] {
        let text = format!("nonexistent global variable '{name}'");
        assert!(run(&mut t, &format!("return {name}")).contains(&text), "{name}");
    }
    assert_eq!(run(&mut t, "return tostring(loadstring(string.dump(function() end)))"), "$3\r\nnil\r\n");
    assert_eq!(run(&mut t, "return loadstring('return 7')()"), ":7\r\n");
    assert!(run(&mut t, "loadstring('leak=1')()").contains("readonly"));
    assert_eq!(run(&mut t, "local n=0 for k in pairs(redis) do n=n+1 end return n > 20"), ":1\r\n");
    assert_eq!(
        run(&mut t, "return {next(_G) ~= nil, _G.redis == redis, ('x'):upper()}"),
        "*3\r\n:1\r\n:1\r\n$1\r\nX\r\n"
    );
    assert_eq!(run(&mut t, "local c=redis.call return c('set','a','b')"), "+OK\r\n");
    run(&mut t, "collectgarbage('stop')");
    assert_eq!(run(&mut t, "return collectgarbage('count') > 0"), ":1\r\n");
}

#[test]
fn memory_is_bounded() {
    let mut t = Harness::new();
    let reply =
        run(&mut t, "local s=string.rep('x',1024*1024) local t={} for i=1,10000 do t[i]=s..i end return #t");
    assert!(reply.contains("not enough memory"), "{reply}");
    assert_eq!(run(&mut t, "return 1"), ":1\r\n");
    let caught = "local s=string.rep('x',1024*1024) local t={} \
                  for i=1,10000 do if not pcall(function() t[i]=s..i end) then return 'full' end end";
    assert_eq!(run(&mut t, caught), "$4\r\nfull\r\n");
    assert_eq!(run(&mut t, "return 1"), ":1\r\n");
}

#[test]
fn digests_name_scripts() {
    let mut t = Harness::new();
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let evalsha = format!("EVALSHA {sha} 0");
    t.expect(&[
        (&evalsha, "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("EVALSHA 00 0", "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("SCRIPT LOAD 'return 1'", "$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n"),
        (&evalsha.to_uppercase(), ":1\r\n"),
        (&format!("SCRIPT EXISTS {sha} 00"), "*2\r\n:1\r\n:0\r\n"),
        ("SCRIPT FLUSH foo", "-ERR SCRIPT FLUSH only support SYNC|ASYNC option\r\n"),
        ("SCRIPT FLUSH ASYNC", "+OK\r\n"),
        (&evalsha, "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("EVAL 'return 1' 0", ":1\r\n"),
        (&evalsha, ":1\r\n"),
        (
            "SCRIPT LOAD 'bad bad'",
            "-ERR Error compiling script (new function): user_script:1: '=' expected near 'bad'\r\n",
        ),
        ("SCRIPT KILL", "-NOTBUSY No scripts in execution right now.\r\n"),
        ("SCRIPT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try SCRIPT HELP.\r\n"),
    ]);
}

#[test]
fn undeclared_keys_of_a_plain_store() {
    let mut t = Harness::new();
    t.expect(&[("SET b 5", "+OK\r\n")]);
    assert_eq!(eval(&mut t, "return redis.call('get','b')", &["a"]), "$1\r\n5\r\n");
    assert_eq!(run(&mut t, "return #redis.call('keys','*')"), ":1\r\n");
    let pcalled = "local r=redis.pcall('get','b') return r";
    assert_eq!(eval(&mut t, pcalled, &["a"]), "$1\r\n5\r\n");
    let caught = "local ok,r=pcall(redis.call,'get','b') return r";
    assert_eq!(eval(&mut t, caught, &["a"]), "$1\r\n5\r\n");
    let written = "redis.call('set',KEYS[1],1) return redis.call('get','b')";
    assert_eq!(eval(&mut t, written, &["a"]), "$1\r\n5\r\n");
    // Somebody holds the other key's stripe: before a write the script waits for it with all others, after one it
    // fails, and takes all of them from the start the next time.
    let node = t.node.clone();
    let slot = node.store.key(b"b").slot;
    let hold = |node: &std::sync::Arc<crate::node::Node>, ms| {
        let (node, (tell, told)) = (node.clone(), std::sync::mpsc::channel());
        let holder = std::thread::spawn(move || {
            let held = node.store.access_one(slot).expect("free");
            tell.send(()).expect("the other thread waits");
            std::thread::sleep(Duration::from_millis(ms));
            drop(held);
        });
        told.recv().expect("the thread has started");
        holder
    };
    let holder = hold(&node, 200);
    assert_eq!(eval(&mut t, "return redis.call('get','b')", &["a"]), "$1\r\n5\r\n");
    holder.join().expect("no panic");
    let holder = hold(&node, 500);
    let late = eval(&mut t, written, &["a"]);
    assert!(late.starts_with("-ERR Script attempted to access a key that was not declared"), "{late}");
    assert_eq!(eval(&mut t, written, &["a"]), "$1\r\n5\r\n");
    holder.join().expect("no panic");
    t.expect(&[
        ("MULTI", "+OK\r\n"),
        ("SET a 2", "+QUEUED\r\n"),
        ("EVAL \"return redis.call('incr','b')\" 0", "+QUEUED\r\n"),
        ("EXEC", "*2\r\n+OK\r\n:6\r\n"),
    ]);
}

#[test]
fn undeclared_keys_of_a_cluster() {
    let mut t = Harness::primary();
    let reply = eval(&mut t, "return redis.call('get','b')", &["a"]);
    assert!(
        reply.starts_with("-ERR Script attempted to access a non local key in a cluster node"),
        "{reply}"
    );
    assert_eq!(eval(&mut t, "return redis.call('set','{a}b',1)", &["a"]), "+OK\r\n");
    assert_eq!(run(&mut t, "return #redis.call('keys','*')"), ":1\r\n");
}

#[test]
fn a_script_is_one_record() {
    let mut t = Harness::primary();
    let script = "redis.call('set',KEYS[1],1) redis.call('incr',KEYS[1]) error('late')";
    assert!(eval(&mut t, script, &["a"]).starts_with("-ERR user_script:1: late"));
    let records = t.records();
    let (record, len) = crate::effect::record(&records).expect("sound").expect("whole");
    assert_eq!(len, records.len());
    assert_eq!(crate::effect::effects(record.body).count(), 2);
    eval(&mut t, "return redis.call('get',KEYS[1])", &["a"]);
    assert!(t.records().is_empty());
    t.run("SCRIPT LOAD 'return 1'");
    assert!(!t.records().is_empty());
}

#[test]
fn the_database_of_a_script_is_its_own() {
    let mut t = Harness::new();
    t.session.db = 2;
    assert_eq!(
        run(&mut t, "redis.call('set','k',2) redis.call('select',3) return redis.call('set','k',3)"),
        "+OK\r\n"
    );
    assert_eq!(t.session.db, 2);
    assert_eq!(t.run("GET k"), "$1\r\n2\r\n");
    t.session.db = 3;
    assert_eq!(t.run("GET k"), "$1\r\n3\r\n");
}

#[test]
fn a_full_store_refuses_what_grows_it() {
    let mut t = Harness::with_settings(Settings { maxmemory: 1, ..Settings::default() });
    t.node.store.report_growth(1000);
    assert_eq!(
        error(&mut t, "return redis.call('set','k','v')"),
        "OOM command not allowed when used memory > 'maxmemory'."
    );
    assert_eq!(run(&mut t, "return redis.call('get','k')"), "$-1\r\n");
    let declared = "#!lua flags=allow-oom\nreturn redis.call('set','k','v')";
    assert_eq!(run(&mut t, declared), "+OK\r\n");
    let text = "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";
    assert_eq!(error(&mut t, "#!lua\nreturn 1"), text);
}

/// Runs an endless script on a thread of its own and kills it from here.
fn killed(script: &'static str) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    let endless = std::thread::spawn(move || {
        let mut t = Harness::new();
        tell.send(t.node.clone()).expect("the other thread waits");
        eval(&mut t, script, &["k"])
    });
    let node = told.recv().expect("the thread has started");
    let patience = Duration::from_secs(60);
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    loop {
        match node.scripts.kill() {
            Ok(()) => break,
            Err(super::KillError::Unkillable) => {
                node.scripts.stop_all();
                break;
            }
            Err(super::KillError::NotBusy) => {
                assert!(start.elapsed() < patience, "the script never entered itself");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    endless.join().expect("no panic")
}

#[test]
fn endless_scripts_can_be_killed() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function(e) while true do end end) end",
        "while true do local c=coroutine.create(function() while true do end end) coroutine.resume(c) end",
        "while true do redis.call('get',KEYS[1]) end",
        "while true do redis.pcall('get',KEYS[1]) end",
    ] {
        let reply = killed(script);
        assert!(
            reply.starts_with("-ERR Script killed by user with SCRIPT KILL. script: "),
            "{script}: {reply}"
        );
    }
    // One that has written goes on until the process ends.
    let reply = killed("redis.call('set',KEYS[1],1) while true do end");
    assert!(reply.starts_with("-ERR Script killed by user"), "{reply}");
}

#[test]
fn others_are_told_that_a_script_keeps_the_store_busy() {
    let (tell, told) = std::sync::mpsc::channel();
    let endless = std::thread::spawn(move || {
        let mut t = Harness::with_settings(Settings { busy_reply_ms: 100, ..Settings::default() });
        tell.send(t.node.clone()).expect("the other thread waits");
        eval(&mut t, "redis.call('set',KEYS[1],1) while true do end", &["k"])
    });
    let node = told.recv().expect("the thread has started");
    while node.scripts.kill() == Err(super::KillError::NotBusy) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(node.scripts.kill(), Err(super::KillError::Unkillable));
    let slot = node.store.key(b"k").slot;
    assert!(node.store.access_one(slot).is_err());
    node.scripts.stop_all();
    assert!(endless.join().expect("no panic").starts_with("-ERR Script killed"));
    assert!(node.store.access_one(slot).is_ok());
}

#[test]
fn who_needs_the_gate_ends_a_script_that_has_not_written() {
    let (tell, told) = std::sync::mpsc::channel();
    let endless = std::thread::spawn(move || {
        let mut t = Harness::with_settings(Settings { busy_reply_ms: 100, ..Settings::default() });
        tell.send(t.node.clone()).expect("the other thread waits");
        eval(&mut t, "while true do end", &["k"])
    });
    let node = told.recv().expect("the thread has started");
    while !endless.is_finished() {
        drop(node.close_gate());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(endless.join().expect("no panic").starts_with("-ERR Script killed"));
}

#[test]
fn the_same_random_numbers_everywhere() {
    let mut t = Harness::new();
    let script = "math.randomseed(3) return tostring(math.random()) .. ' ' .. math.random(10) .. ' ' .. math.random(5,6)";
    assert_eq!(run(&mut t, script), "$21\r\n0.78323496216127 9 5\r\n".replace("$21", "$20"));
    assert_eq!(
        run(&mut t, "math.randomseed(0) return tostring(math.random())"),
        "$16\r\n0.17082803611217\r\n"
    );
}

#[test]
fn json() {
    let mut t = Harness::new();
    for (script, reply) in [
        ("return cjson.encode({1,2,'x',{a=true}})", "[1,2,\"x\",{\"a\":true}]"),
        ("return cjson.encode({})", "{}"),
        ("return cjson.encode({[1]=1,[3]=3})", "[1,null,3]"),
        ("return cjson.encode({a=cjson.null})", "{\"a\":null}"),
        ("return cjson.encode({[5]='a',x=1})", "{\"5\":\"a\",\"x\":1}"),
        ("return cjson.encode('a/\"\\\\\\n\\1\\127')", "\"a\\/\\\"\\\\\\n\\u0001\\u007f\""),
        ("return cjson.encode({0.1,1e100,-5,3})", "[0.1,1e+100,-5,3]"),
        ("return cjson.decode('[1,{\"a\":[true,false,null]}]')[2].a[3] == cjson.null and 'y' or 'n'", "y"),
        ("return cjson.decode('\"\\\\u00e9\\\\ud83d\\\\ude00\\\\n\"')", "é😀\n"),
        ("return tostring(cjson.decode('-1.5e3'))", "-1500"),
        ("return cjson.encode(cjson.decode('{\"a\":{},\"b\":[]}').b)", "{}"),
        ("cjson.encode_number_precision(3) return cjson.encode({1/3})", "[0.333]"),
        ("return cjson.encode({1/3})", "[0.33333333333333]"),
    ] {
        assert_eq!(run(&mut t, script), format!("${}\r\n{reply}\r\n", reply.len()), "{script}");
    }
    for (script, text) in [
        ("return cjson.encode({[1]=1,[100]=2})", "Cannot serialise table: excessively sparse array"),
        ("return cjson.encode({[true]=1})", "Cannot serialise table: table key must be a number or string"),
        ("return cjson.encode({1/0})", "Cannot serialise number: must not be NaN or Inf"),
        ("return cjson.encode(print or pcall)", "nonexistent global variable"),
        ("return cjson.encode(pcall)", "Cannot serialise function: type not supported"),
        ("return cjson.decode('')", "Expected value but found T_END at character 1"),
        ("return cjson.decode('[1')", "Expected comma or array end but found T_END at character 3"),
        ("return cjson.decode('{1}')", "Expected object key string but found T_NUMBER at character 2"),
        ("return cjson.decode('[1]x')", "Expected the end but found invalid token at character 4"),
        ("return cjson.decode('[1,]')", "Expected value but found T_ARR_END at character 4"),
    ] {
        assert!(error(&mut t, script).contains(text), "{script}: {}", run(&mut t, script));
    }
}

#[test]
fn packing_and_bits() {
    let mut t = Harness::new();
    for (script, reply) in [
        ("return cmsgpack.unpack(cmsgpack.pack({1,2,3}))[3]", ":3\r\n"),
        (
            "return redis.sha1hex(cmsgpack.pack({1,-1,200,70000,-40000,1.5,0.1,'x',true,{a=1}}))",
            "$40\r\nb9e04dc36eff2c3995d783229f73171e88cdc172\r\n",
        ),
        (
            "local a,b,c=cmsgpack.unpack(cmsgpack.pack('a',nil,'c')) return {a,tostring(b),c}",
            "*3\r\n$1\r\na\r\n$3\r\nnil\r\n$1\r\nc\r\n",
        ),
        ("local o,v=cmsgpack.unpack_one(cmsgpack.pack(7,8)) return {o,v}", "*2\r\n:1\r\n:7\r\n"),
        ("local o,v=cmsgpack.unpack_limit(cmsgpack.pack(7,8),1,1) return {o,v}", "*2\r\n:-1\r\n:8\r\n"),
        (
            "return {bit.band(0xff,0x0f), bit.bor(1,2,4), bit.bxor(5,1), bit.bnot(0), bit.tobit(0xffffffff)}",
            "*5\r\n:15\r\n:7\r\n:4\r\n:-1\r\n:-1\r\n",
        ),
        (
            "return {bit.lshift(1,4), bit.rshift(-1,28), bit.arshift(-16,2), bit.rol(1,31), bit.bswap(1)}",
            "*5\r\n:16\r\n:15\r\n:-4\r\n:-2147483648\r\n:16777216\r\n",
        ),
        (
            "return {bit.tohex(255), bit.tohex(255,2), bit.tohex(255,-4)}",
            "*3\r\n$8\r\n000000ff\r\n$2\r\nff\r\n$4\r\n00FF\r\n",
        ),
        (
            "return {struct.unpack('>HBs', struct.pack('>HBs', 258, 7, 'ab'))}",
            "*4\r\n:258\r\n:7\r\n$2\r\nab\r\n:7\r\n",
        ),
        ("return {struct.unpack('<i2c0', struct.pack('<i2c0', 3, 'abc'))}", "*2\r\n$3\r\nabc\r\n:6\r\n"),
        ("return struct.size('!4 b i4 d')", ":16\r\n"),
        ("return {struct.unpack('b', struct.pack('b', -1))}", "*2\r\n:-1\r\n:2\r\n"),
    ] {
        assert_eq!(run(&mut t, script), reply, "{script}");
    }
    assert!(error(&mut t, "return struct.unpack('i4','ab')").contains("data string too short"));
    assert!(error(&mut t, "return struct.pack('y',1)").contains("invalid format option 'y'"));
}

#[test]
fn scripts_of_other_connections_see_their_own_arguments() {
    let mut t = Harness::new();
    let mut other = Session::new(2, true);
    assert_eq!(eval(&mut t, "return KEYS[1]..#ARGV", &["k"]), "$2\r\nk0\r\n");
    assert_eq!(t.run_as(&mut other, "EVAL 'return ARGV[1]..#KEYS' 0 x"), "$2\r\nx0\r\n");
    assert_eq!(t.run("EVAL 'return ARGV[1]' 0"), "$-1\r\n");
}
