"""What is asked of Redis for a ledger: a few scripts, each of them one step that nothing can come
between, and each the same when it is asked twice because the first answer was lost.

All keys begin with `{tusserver}:ledger:`, or what else is ARGV[1] of every script:

`upload:<id>` is a hash of owner, size, created, is_active, name.
`all`, `active` and `of:<owner>` have the ids of all uploads, of the unfinished ones, and of those
of an owner, by the time of their creation.
`usage:<owner>` and `total` have the sums of their sizes, and of their numbers.
`whole` stands while no upload is missing, and `counting` while all are being counted, with a token.
Both go when Redis forgets everything, like the rest.
"""

from __future__ import annotations

PREFIX = "{tusserver}:ledger:"

_FUNCTIONS = """
local P = ARGV[1]
local function count(owner, size, uploads, active)
    for _, key in ipairs({P .. 'usage:' .. owner, P .. 'total'}) do
        redis.call('HINCRBY', key, 'size', size)
        redis.call('HINCRBY', key, 'active', active)
        if redis.call('HINCRBY', key, 'uploads', uploads) == 0 then redis.call('DEL', key) end
    end
end
local function minus(text)
    -- As text, which is exact whatever the number; and -0 is none for Redis.
    if text == '0' then return text end
    return '-' .. text
end
local function drop(id)
    local old = redis.call('HMGET', P .. 'upload:' .. id, 'owner', 'size', 'is_active')
    if not old[1] then return end
    count(old[1], minus(old[2]), -1, minus(old[3]))
    redis.call('ZREM', P .. 'of:' .. old[1], id)
    redis.call('ZREM', P .. 'all', id)
    redis.call('ZREM', P .. 'active', id)
    redis.call('DEL', P .. 'upload:' .. id)
end
local function put(id, owner, size, created, is_active, name)
    drop(id)
    redis.call('HSET', P .. 'upload:' .. id, 'owner', owner, 'size', size, 'created', created,
        'is_active', is_active, 'name', name)
    redis.call('ZADD', P .. 'all', created, id)
    redis.call('ZADD', P .. 'of:' .. owner, created, id)
    if is_active == '1' then redis.call('ZADD', P .. 'active', created, id) end
    count(owner, size, 1, is_active)
end
local function usage(owner)
    local sums = redis.call('HMGET', P .. 'usage:' .. owner, 'size', 'uploads', 'active')
    return {tonumber(sums[1] or '0'), tonumber(sums[2] or '0'), tonumber(sums[3] or '0')}
end
local function is_beyond(value, limit)
    return limit ~= '' and value > tonumber(limit)
end
local function resize(id, owner, old, size)
    count(owner, string.format('%.0f', size - old), 0, 0)
    redis.call('HSET', P .. 'upload:' .. id, 'size', string.format('%.0f', size))
end
"""
_IF_WHOLE = _FUNCTIONS + "if redis.call('EXISTS', P .. 'whole') == 0 then return {-1} end\n"

# ARGV: prefix, then the six fields of an entry, as `put` takes them.
PUT = _FUNCTIONS + "put(unpack(ARGV, 2)) return {0}"

ADD = (
    _FUNCTIONS
    + "if redis.call('EXISTS', P .. 'upload:' .. ARGV[2]) == 0 then put(unpack(ARGV, 2)) end "
    + "return {0}"
)

# ARGV: prefix, token. {0, whether nothing has been lost since the count began}
END_COUNT = """
local P = ARGV[1]
if redis.call('GET', P .. 'counting') ~= ARGV[2] then return {0, 0} end
redis.call('DEL', P .. 'counting')
redis.call('SET', P .. 'whole', '1')
return {0, 1}
"""

# ARGV: prefix, id.
RELEASE = _FUNCTIONS + "drop(ARGV[2]) return {0}"

# ARGV: prefix, the fields of an entry, the bounds of size, uploads and active (empty: none).
# {0}, or {number of the bound, what there is}.
RESERVE = (
    _IF_WHOLE
    + """
local id, owner, size = ARGV[2], ARGV[3], ARGV[4]
local has = usage(owner)
local own = redis.call('HMGET', P .. 'upload:' .. id, 'owner', 'size', 'is_active')
if own[1] == owner then
    has = {has[1] - tonumber(own[2]), has[2] - 1, has[3] - tonumber(own[3])}
end
local added = {tonumber(size), 1, 1}
for which = 1, 3 do
    if is_beyond(has[which] + added[which], ARGV[7 + which]) then return {which, unpack(has)} end
end
put(id, owner, size, ARGV[5], ARGV[6], ARGV[7])
return {0}
"""
)

# ARGV: prefix, id, size, bound of the size.
RESIZE = (
    _IF_WHOLE
    + """
local entry = redis.call('HMGET', P .. 'upload:' .. ARGV[2], 'owner', 'size')
if not entry[1] then return {0} end
local has, old, size = usage(entry[1]), tonumber(entry[2]), tonumber(ARGV[3])
if size > old and is_beyond(has[1] - old + size, ARGV[4]) then return {1, unpack(has)} end
resize(ARGV[2], entry[1], old, size)
return {0}
"""
)

# ARGV: prefix, id, offset, limit (empty: none), bound of the size. {0, reserved}
STRETCH = (
    _IF_WHOLE
    + """
local entry = redis.call('HMGET', P .. 'upload:' .. ARGV[2], 'owner', 'size')
local bound, offset, limit = tonumber(ARGV[5]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not entry[1] then return {0, limit or bound} end
local has, old = usage(entry[1]), tonumber(entry[2])
local room = bound - has[1] + old - offset
if room <= 0 then return {1, unpack(has)} end
if limit then room = math.min(room, limit) end
resize(ARGV[2], entry[1], old, offset + room)
return {0, room}
"""
)
