package proxyproto

import (
	"strconv"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"greetd.example/internal/words"
	"greetd.example/pkg/service"
)

// longestValue is how many bytes of a TLV's value are used. A host name has at most 253, a
// unique id 128, a common name 64 characters.
const longestValue = 256

// infoIn returns what the TLVs of header say about the client; nil if that is nothing that
// we know. A vector of TLVs that is malformed says nothing.
func infoIn(header *proxyproto.Header) *service.ProxyInfo {
	all, err := header.TLVs()
	if err != nil || len(all) == 0 {
		return nil
	}
	var info service.ProxyInfo
	for _, tlv := range all {
		switch tlv.Type {
		case proxyproto.PP2_TYPE_AUTHORITY:
			info.Authority = text(tlv.Value)
		case proxyproto.PP2_TYPE_ALPN:
			info.ALPN = text(tlv.Value)
		case proxyproto.PP2_TYPE_UNIQUE_ID:
			info.UniqueID = text(tlv.Value)
		case proxyproto.PP2_TYPE_SSL:
			addSSL(&info, tlv)
		}
	}
	info.AWSEndpointID = text([]byte(tlvparse.FindAWSVPCEndpointID(all)))
	if id, ok := tlvparse.FindAzurePrivateEndpointLinkID(all); ok {
		info.AzureEndpointID = strconv.FormatUint(uint64(id), 10)
	}
	if info == (service.ProxyInfo{}) {
		return nil
	}
	return &info
}

// addSSL adds what the proxy says about the TLS between the client and itself, if it
// speaks TLS there.
func addSSL(info *service.ProxyInfo, tlv proxyproto.TLV) {
	ssl, err := tlvparse.SSL(tlv)
	if err != nil || !ssl.ClientSSL() {
		return
	}
	version, _ := ssl.SSLVersion()
	name, _ := ssl.ClientCN()
	info.SSLVersion, info.SSLCommonName = text([]byte(version)), text([]byte(name))
	// HAProxy says that the certificate was verified also where there is none.
	info.SSLVerified = ssl.Verified() && (ssl.ClientCertConn() || ssl.ClientCertSess())
}

// text is the value of a TLV, cut, without anything that could end a line or steer a terminal.
func text(value []byte) string {
	if len(value) > longestValue {
		value = value[:longestValue]
	}
	return string(words.AppendPrintable(nil, value))
}
