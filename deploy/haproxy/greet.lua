-- greet.lua requests the greeting for a client from the hosts of "listen greetd", one after the
-- other, until one host has sent the whole greeting. Only then it sends the greeting to the
-- client. haproxy.cfg loads this file.
--
-- A host may be asked twice for the same client. It then counts and logs two visits.

local proxy = "greetd" -- the section's name, and that of its abstract socket
local beginning = os.getenv("GREETING")
local longest = 65536 -- bytes; a longer text is not a greeting
local timeLimit = 10 -- seconds; after this time no further host is asked, since that would only add load

local hosts = {} -- their names
core.register_init(function()
	for name in pairs(core.backends[proxy].servers) do
		table.insert(hosts, name)
	end
	table.sort(hosts)
end)

local function binary(hex)
	return (hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

-- header returns a PROXY header, version 2, with the addresses of the client. It has the name
-- of a host as the unique ID (a TLV of type 5), by which use-server finds the host.
local function header(applet, host)
	local from, to = binary(applet:get_var("txn.from")), binary(applet:get_var("txn.to"))
	local family = #from == 4 and 0x11 or 0x21 -- TCP over IPv4 or IPv6
	local rest = from .. to .. string.pack(">I2I2", applet.f:src_port(), applet.f:dst_port())
	if host then
		rest = rest .. string.pack(">Bs2", 5, host)
	end
	return "\r\n\r\n\0\r\nQUIT\n" .. string.pack(">BBs2", 0x21, family, rest)
end

-- ask returns the whole greeting from the host, or nil if it gets none. If host is nil, HAProxy
-- chooses one.
local function ask(applet, host)
	local socket = core.tcp()
	socket:settimeout(15) -- covers the wait for maxconn of the section, and its timeouts
	local text
	if socket:connect("abns@" .. proxy) and socket:send(header(applet, host)) then
		text = socket:receive(longest) -- until the end of file
	end
	socket:close()
	if text and #text < longest and text:sub(1, #beginning) == beginning and text:sub(-1) == "\n" then
		return text
	end
end

-- HAProxy chooses the first host: the one with the fewest connections. A host that fails at
-- once always has the fewest connections, so further hosts are asked by name, in turn.
local turn = 0
core.register_service("greet", "tcp", function(applet)
	local began = core.now().sec
	local text = ask(applet)
	turn = turn + 1
	local start = turn
	for i = 1, #hosts do
		if text or core.now().sec - began > timeLimit then
			break
		end
		text = ask(applet, hosts[(start + i) % #hosts + 1])
	end
	if text then
		applet:send(text)
	else
		core.log(core.err, "no host of " .. proxy .. " greets " .. applet.f:src())
	end
end)
