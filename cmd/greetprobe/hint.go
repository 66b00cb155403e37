package main

import (
	"fmt"
	"strings"

	"greetd.example/pkg/probe"
)

// tlsPorts are the ports on which servers expect TLS from the first byte.
var tlsPorts = map[uint16]string{
	443: "HTTPS", 465: "SMTP", 563: "NNTP", 636: "LDAP", 853: "DNS", 990: "FTP", 992: "telnet", 993: "IMAP",
	994: "IRC", 995: "POP3", 5061: "SIP", 5223: "XMPP", 6697: "IRC", 8443: "HTTPS",
}

// clientPorts are the ports of protocols in which the client sends data first.
var clientPorts = map[uint16]string{
	53: "DNS", 80: "HTTP", 88: "Kerberos", 111: "RPC", 139: "NetBIOS", 179: "BGP", 389: "LDAP", 445: "SMB",
	1433: "SQL Server", 1883: "MQTT", 3128: "HTTP", 3268: "LDAP", 3389: "RDP", 5060: "SIP", 5222: "XMPP",
	5269: "XMPP", 5432: "PostgreSQL", 6379: "Redis", 8080: "HTTP", 9092: "Kafka", 9100: "HTTP", 11211: "memcached",
	27017: "MongoDB",
}

// hint returns advice about the command line, if the result suggests that it is wrong, and not the server. It
// returns "" if there is none.
func (f *probeFlags) hint(r probe.Result) string {
	port := r.Target.Port
	switch secure := f.secure(); {
	case r.Refusal != nil && r.Refusal.Text == "Not allowed at this time":
		return "sshd counts every client that does not log in, probes too: probe at most once a second, or add this machine to PerSourcePenaltyExemptList in its sshd_config"
	case r.Status == probe.TLSFailed && f.tls && r.Err != nil && strings.Contains(r.Err.Error(), "plain text, not TLS"):
		return "a server that greets in plain text may have --starttls PROTOCOL in place of --tls"
	case r.Status != probe.NoGreeting && r.Status != probe.Closed && r.Status != probe.Reset || r.Greeting == nil || len(r.Greeting.Bytes) > 0:
		return ""
	case !secure && tlsPorts[port] != "":
		return fmt.Sprintf("port %d is usually %s over TLS from the start: try --tls", port, tlsPorts[port])
	case f.send != "" && !f.settings.SendFirst:
		return "where the client speaks first, --send TEXT needs --send-first"
	case f.send != "":
		return ""
	case clientPorts[port] != "":
		return fmt.Sprintf("port %d is usually %s, where the client speaks first: try --connect-only, or --send TEXT --send-first", port, clientPorts[port])
	case r.Status != probe.NoGreeting:
		return ""
	case secure:
		return "the client may have to speak first: try --connect-only, or --send TEXT --send-first"
	default:
		return "the server may expect TLS from the start (try --tls), or the client to speak first (try --connect-only, or --send TEXT --send-first)"
	}
}
