//! Scripts.

use super::*;

const EVAL: Flags = Flags::NOSCRIPT
    .or(Flags::STALE)
    .or(Flags::SKIP_MONITOR)
    .or(Flags::NO_MANDATORY_KEYS)
    .or(Flags::MOVABLEKEYS);
const EVAL_RO: Flags = EVAL.or(Flags::READONLY);

family! {
    /// Commands about scripts.
    ScriptingCommand, "scripting", Acl::SCRIPTING;
    Eval = row("eval", -3).flags(EVAL.or(Flags::MAY_REPLICATE)).keys(numkeys(2, 3)).route(Route::Key).since("2.6.0")
        .complexity("Depends on the script.").usage("script numkeys [key ...] [arg ...]")
        .summary("Executes a Lua script.");
    EvalRo = row("eval_ro", -3).flags(EVAL_RO).keys(numkeys(2, 3)).route(Route::Key).since("7.0.0")
        .complexity("Depends on the script.").usage("script numkeys [key ...] [arg ...]")
        .summary("Executes a Lua script that may not write.");
    Evalsha = row("evalsha", -3).flags(EVAL.or(Flags::MAY_REPLICATE)).keys(numkeys(2, 3)).route(Route::Key)
        .since("2.6.0").complexity("Depends on the script.").usage("sha1 numkeys [key ...] [arg ...]")
        .summary("Executes a Lua script by the digest of its text.");
    EvalshaRo = row("evalsha_ro", -3).flags(EVAL_RO).keys(numkeys(2, 3)).route(Route::Key).since("7.0.0")
        .complexity("Depends on the script.").usage("sha1 numkeys [key ...] [arg ...]")
        .summary("Executes a Lua script that may not write by the digest of its text.");
    Fcall = row("fcall", -3).flags(EVAL.or(Flags::MAY_REPLICATE)).keys(numkeys(2, 3)).route(Route::Key).since("7.0.0")
        .usage("function numkeys [key ...] [arg ...]").summary("Calls a function: there are none.");
    FcallRo = row("fcall_ro", -3).flags(EVAL_RO).keys(numkeys(2, 3)).route(Route::Key).since("7.0.0")
        .usage("function numkeys [key ...] [arg ...]").summary("Calls a function that may not write: there are none.");
    Function = row("function", -2).flags(Flags::CONTAINER).since("7.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about libraries of functions.");
    FunctionDelete = row("function|delete", 3).flags(Flags::NOSCRIPT).route(Route::AnyShard).since("7.0.0")
        .usage("library").summary("Forgets a library: there are none.");
    FunctionDump = row("function|dump", 2).flags(Flags::NOSCRIPT).route(Route::AnyShard).since("7.0.0")
        .summary("Gives the payload of all libraries: that of none.");
    FunctionFlush = row("function|flush", -2).flags(Flags::NOSCRIPT.or(Flags::IDEMPOTENT)).route(Route::AnyShard).since("7.0.0")
        .usage("[ASYNC | SYNC]").summary("Forgets all libraries: there are none.");
    FunctionHelp = row("function|help", 2).flags(ALWAYS).since("7.0.0").summary("Explains the subcommands.");
    FunctionKill = row("function|kill", 2).flags(Flags::NOSCRIPT.or(Flags::ALLOW_BUSY)).route(Route::AnyShard)
        .since("7.0.0").summary("Stops the function that is running: there is none.");
    FunctionList = row("function|list", -2).flags(Flags::NOSCRIPT).route(Route::AnyShard).since("7.0.0")
        .usage("[LIBRARYNAME pattern] [WITHCODE]").summary("Gives the libraries: none.");
    FunctionLoad = row("function|load", -3).flags(Flags::NOSCRIPT).route(Route::AnyShard).since("7.0.0").usage("[REPLACE] code")
        .summary("Refused: there are scripts, but no functions.");
    FunctionRestore = row("function|restore", -3).flags(Flags::NOSCRIPT).route(Route::AnyShard).since("7.0.0")
        .usage("payload [FLUSH | APPEND | REPLACE]").summary("Loads the libraries of a payload; refused unless that is of none.");
    FunctionStats = row("function|stats", 2).flags(Flags::NOSCRIPT.or(Flags::ALLOW_BUSY)).route(Route::AnyShard)
        .since("7.0.0").summary("Says which function is running, and how many there are: none.");
    Script = row("script", -2).flags(Flags::CONTAINER).since("2.6.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about scripts.");
    ScriptExists = row("script|exists", -3).flags(Flags::NOSCRIPT).route(Route::AllShards).merge(Merge::LogicalAnd)
        .since("2.6.0").complexity("O(N) with N the number of digests").usage("sha1 [sha1 ...]")
        .summary("Says which scripts are known.");
    ScriptFlush = row("script|flush", -2).flags(Flags::NOSCRIPT.or(Flags::IDEMPOTENT)).route(Route::AllShards)
        .merge(Merge::AllOk).since("2.6.0").complexity("O(N) with N the number of scripts")
        .usage("[ASYNC | SYNC]").summary("Forgets all scripts.");
    ScriptHelp = row("script|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    ScriptKill = row("script|kill", 2).flags(Flags::NOSCRIPT.or(Flags::ALLOW_BUSY)).route(Route::AllShards)
        .merge(Merge::AnyOk).since("2.6.0").summary("Stops the script that is running, if it has not written yet.");
    ScriptLoad = row("script|load", 3).flags(Flags::NOSCRIPT.or(Flags::STALE).or(Flags::IDEMPOTENT))
        .route(Route::AllShards).merge(Merge::AllEqual).since("2.6.0")
        .complexity("O(N) with N the length of the script").usage("script")
        .summary("Remembers a script and gives its digest.");
}
