package service

import (
	"net/netip"
	"time"
)

// A Peer describes the client of a connection, the listener that accepted it, and the time. Copies of
// a Peer are independent, except for ProxyInfo.
type Peer struct {
	ID       uint64         // the number of the connection, from 1 for each Server
	Listener string         // the Listener.Name that accepted it
	Remote   netip.AddrPort // the client; the zero value on a unix socket
	Local    netip.AddrPort // the address that the client connected to; the zero value on a unix socket, and with Server.OmitLocal
	Proxy    netip.AddrPort // the proxy that announced Remote; the zero value if there was none
	Arrived  time.Time      // when it was accepted, with a monotonic reading

	// ProxyInfo has what the proxy sent about the client in addition to addresses; nil if it sent
	// nothing. Copies of the Peer share it: do not change it.
	ProxyInfo *ProxyInfo
}

// A ProxyInfo has what a proxy sent about a client in the TLVs of a PROXY header of version 2. Fields
// that the header does not have are the zero value. The function that makes a ProxyInfo, such as
// Unwrap of a [Listener], limits the length of the texts and escapes what is not printable.
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
