package proxyproto

import (
	"strconv"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"greetd.example/internal/words"
	"greetd.example/pkg/service"
)

// longestValue is the maximum number of bytes of the value of a TLV that are used. A host name has at most 253
// characters, a unique ID 128, and a common name 64.
const longestValue = 256

// infoIn returns the information about the client in the TLVs of header. It returns nil if there are no known TLVs, or if
// they are malformed.
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

// addSSL adds the information about TLS between the client and the proxy, if they use TLS.
func addSSL(info *service.ProxyInfo, tlv proxyproto.TLV) {
	ssl, err := tlvparse.SSL(tlv)
	if err != nil || !ssl.ClientSSL() {
		return
	}
	version, _ := ssl.SSLVersion()
	name, _ := ssl.ClientCN()
	info.SSLVersion, info.SSLCommonName = text([]byte(version)), text([]byte(name))
	// HAProxy also reports a certificate as verified if there is none.
	info.SSLVerified = ssl.Verified() && (ssl.ClientCertConn() || ssl.ClientCertSess())
}

// text returns the value of a TLV, cut to longestValue, and without characters that could end a line or control a
// terminal.
func text(value []byte) string {
	if len(value) > longestValue {
		value = value[:longestValue]
	}
	return string(words.AppendPrintable(nil, value))
}
