-- The world that a script sees. Runs once, when a worker's Lua is made.
--
-- Scripts must not leave anything behind for one another: the globals and the libraries are empty tables whose
-- metatables lead to the real ones and refuse writes. Errors of the interpreter's owner are userdata: `caught`
-- turns them into text. A script that is to end (`stopping`) catches nothing any more.
local native, handler = ...

local error, type, next, tostring, unpack, select = error, type, next, tostring, unpack, select
local setmetatable, getmetatable, rawset, rawget = setmetatable, getmetatable, rawset, rawget
local pcall, xpcall, loadstring, collectgarbage = pcall, xpcall, loadstring, collectgarbage
local resume, wrap_create = coroutine.resume, coroutine.create
local byte, concat = string.byte, table.concat
local real = _G

local READONLY = "Attempt to modify a readonly table"
local BYTECODE = 27

-- sealed table -> the real one
local sealed = {}

local function seal(target)
  local proxy = {}
  sealed[proxy] = target
  setmetatable(proxy, {
    __index = target,
    __newindex = function() error(READONLY, 2) end,
    __metatable = false,
  })
  return proxy
end

-- What a failed call gives to the script that caught it.
local function passed_on(ok, ...)
  if ok then
    return true, ...
  end
  if native.stopping() then
    native.stop()
  end
  local problem = ...
  local kind = type(problem)
  if kind == "userdata" then
    return false, native.caught(problem)
  elseif kind == "table" and type(rawget(problem, "err")) == "string" then
    return false, rawget(problem, "err")
  end
  return false, ...
end

function real.pcall(...)
  return passed_on(pcall(...))
end

function real.xpcall(f, on_error)
  local function guarded(problem)
    if native.stopping() then
      return problem
    end
    if type(problem) == "userdata" then
      problem = native.caught(problem)
    end
    return on_error(problem)
  end
  return passed_on(xpcall(f, guarded))
end

function real.coroutine.resume(...)
  return passed_on(resume(...))
end

function real.setmetatable(target, meta)
  if sealed[target] then
    error(READONLY, 0)
  end
  if type(target) ~= "table" then
    error("bad argument #1 to 'setmetatable' (table expected, got " .. type(target) .. ")", 2)
  end
  return setmetatable(target, meta)
end

function real.rawset(target, key, value)
  if sealed[target] then
    error(READONLY, 0)
  end
  if type(target) ~= "table" then
    error("bad argument #1 to 'rawset' (table expected, got " .. type(target) .. ")", 2)
  end
  return rawset(target, key, value)
end

function real.rawget(target, key)
  if type(target) ~= "table" then
    error("bad argument #1 to 'rawget' (table expected, got " .. type(target) .. ")", 2)
  end
  return rawget(sealed[target] or target, key)
end

function real.next(target, key)
  if type(target) ~= "table" then
    error("bad argument #1 to 'next' (table expected, got " .. type(target) .. ")", 2)
  end
  return next(sealed[target] or target, key)
end

function real.pairs(target)
  if type(target) ~= "table" then
    error("bad argument #1 to 'pairs' (table expected, got " .. type(target) .. ")", 2)
  end
  return next, sealed[target] or target, nil
end

function real.loadstring(text, name)
  if type(text) ~= "string" then
    error("bad argument #1 to 'loadstring' (string expected, got " .. type(text) .. ")", 2)
  end
  if byte(text, 1) == BYTECODE then
    return nil, "bytecode is not accepted"
  end
  return loadstring(text, name)
end

function real.load(reader, name)
  if type(reader) ~= "function" then
    error("bad argument #1 to 'load' (function expected, got " .. type(reader) .. ")", 2)
  end
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then
      break
    elseif type(piece) ~= "string" then
      return nil, "reader function must return a string"
    end
    pieces[#pieces + 1] = piece
  end
  return real.loadstring(concat(pieces), name or "=(load)")
end

-- The collector may be asked, not stopped.
function real.collectgarbage(what)
  if what == "count" then
    return collectgarbage("count")
  end
  if what == nil or what == "collect" or what == "step" then
    return collectgarbage("collect")
  end
  return 0
end

for _, name in ipairs({ "dofile", "loadfile", "print", "require", "module", "newproxy", "getfenv", "setfenv", "package" }) do
  real[name] = nil
end
real.os = { clock = os.clock }
for name, library in next, native.libraries do
  real[name] = library
end
real.math.random = native.random
real.math.randomseed = native.randomseed

setmetatable(real, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})

local redis = real.redis
local world = seal(real)
for name, value in next, real do
  if type(value) == "table" and name ~= "_G" then
    real[name] = seal(value)
  end
end
real._G = world
-- Valkey's name of the same table.
real.server = real.redis

-- Strings have a metatable that everybody can reach.
local of_strings = getmetatable("")
of_strings.__index = real.string
of_strings.__metatable = seal(of_strings)

-- Functions of tables can write into a sealed one without asking its metatable: what they put there goes.
local function clean()
  for proxy in next, sealed do
    local key = next(proxy)
    while key ~= nil do
      rawset(proxy, key, nil)
      key = next(proxy)
    end
  end
end

local function run(f)
  local ok, value = xpcall(f, handler)
  return ok, value
end

return world, real, redis, run, clean
