package service

import (
	"net/netip"
	"time"
)

// A Peer is the client of a connection, the listener that it came to, and the time. It is a value:
// copies are independent, except for ProxyInfo.
type Peer struct {
	ID       uint64         // counts the connections of a Server, from 1
	Listener string         // the Listener.Name that accepted it
	Remote   netip.AddrPort // the client; the zero value on a unix socket
	Local    netip.AddrPort // the address that the client reached; the zero value on a unix socket, and see Server.OmitLocal
	Proxy    netip.AddrPort // the proxy that announced Remote; the zero value if there was none
	Arrived  time.Time      // when it was accepted, with a monotonic reading

	// ProxyInfo is what the proxy said about the client beside its addresses; nil if it said nothing.
	// Copies of the Peer share it: it must not be changed.
	ProxyInfo *ProxyInfo
}

// A ProxyInfo is what a proxy said about a client, in TLVs of a PROXY header of version 2. What it
// did not say is the zero value. The code that makes one limits the length of its texts and keeps them printable.
type ProxyInfo struct {
	Authority       string // the host name that the client asked for, by SNI
	ALPN            string // the application protocol of the client's connection
	UniqueID        string // the proxy's identifier of the connection
	SSLVersion      string // the version of TLS of the client's connection
	SSLCommonName   string // the common name of the client's certificate
	SSLVerified     bool   // whether the client presented a certificate that the proxy verified
	AWSEndpointID   string // the id of the AWS VPC endpoint
	AzureEndpointID string // the link id of the Azure private endpoint
}
