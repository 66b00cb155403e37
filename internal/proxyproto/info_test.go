package proxyproto

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"greetd.example/pkg/service"
)

const fromTo = "\xc6\x33\x64\x07\xcb\x00\x71\x01\x00\x01\x00\x02"

// tlv is a TLV of that type.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value //nolint:gosec // short enough
}

func TestProxyInfo(t *testing.T) {
	for name, test := range map[string]struct {
		header string
		want   service.ProxyInfo
	}{
		"v1":                    {headers[0].header, service.ProxyInfo{}},
		"no TLVs":               {v2(0x21, 0x11, fromTo), service.ProxyInfo{}},
		"only a checksum":       {headers[3].header, service.ProxyInfo{}},
		"HAProxy, health check": {headers[7].header, service.ProxyInfo{}},
		"HAProxy, TLS": {headers[6].header, service.ProxyInfo{
			Authority: "greet.example", UniqueID: "7F000001:E47C_7F000001:03EB_6B03B20E_0006:0161", SSLVersion: "TLSv1.3",
		}},
		"ALPN":                 {v2(0x21, 0x11, fromTo+tlv(1, "h2")), service.ProxyInfo{ALPN: "h2"}},
		"AWS":                  {v2(0x21, 0x11, fromTo+tlv(0xea, "\x01vpce-08d2bf15fac5001c9")+tlv(4, "\x00\x00")), service.ProxyInfo{AWSEndpointID: "vpce-08d2bf15fac5001c9"}},
		"not AWS":              {v2(0x21, 0x11, fromTo+tlv(0xea, "\x01vpce 1\n")), service.ProxyInfo{}},
		"Azure":                {v2(0x21, 0x11, fromTo+tlv(0xee, "\x01\xc1\x45\x00\x21")), service.ProxyInfo{AzureEndpointID: "553665985"}},
		"verified":             {v2(0x21, 0x11, fromTo+tlv(0x20, "\x03\x00\x00\x00\x00"+tlv(0x21, "TLSv1.2")+tlv(0x22, "ünal"))), service.ProxyInfo{SSLVersion: "TLSv1.2", SSLCommonName: "ünal", SSLVerified: true}},
		"refused":              {v2(0x21, 0x11, fromTo+tlv(0x20, "\x03\x00\x00\x00\x01"+tlv(0x21, "TLSv1.2")+tlv(0x22, "x"))), service.ProxyInfo{SSLVersion: "TLSv1.2", SSLCommonName: "x"}},
		"plain text to proxy":  {v2(0x21, 0x11, fromTo+tlv(0x20, "\x00\x00\x00\x00\x01"+tlv(0x21, "TLSv1.2")+tlv(0x22, "x"))+tlv(5, "1")), service.ProxyInfo{UniqueID: "1"}},
		"bad SSL":              {v2(0x21, 0x11, fromTo+tlv(0x20, "\x03")+tlv(5, "1")), service.ProxyInfo{UniqueID: "1"}},
		"escaped":              {v2(0x21, 0x11, fromTo+tlv(2, "a\n\x1b[31m\u202e")+tlv(5, "\x00\xff")), service.ProxyInfo{Authority: `a\n\x1b[31m\u202e`, UniqueID: `\x00\xff`}},
		"long":                 {v2(0x21, 0x11, fromTo+tlv(2, strings.Repeat("a", 3000))), service.ProxyInfo{Authority: strings.Repeat("a", 256)}},
		"empty":                {v2(0x21, 0x11, fromTo+tlv(2, "")), service.ProxyInfo{}},
		"no TLVs but bytes":    {v2(0x21, 0x11, fromTo+"xxxx"), service.ProxyInfo{}},
		"local, with TLVs":     {v2(0x20, 0x11, fromTo+tlv(2, "a")), service.ProxyInfo{}},
		"client of a unix one": {v2(0x21, 0x31, strings.Repeat("/", 216)+tlv(2, "a")), service.ProxyInfo{Authority: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Unwrap(trusted)(sent(test.header))
			if err != nil {
				t.Fatal(err)
			}
			info := c.(*conn).ProxyInfo()
			if (info == nil) != (test.want == service.ProxyInfo{}) || info != nil && *info != test.want {
				t.Errorf("ProxyInfo = %+v, want %+v", info, test.want)
			}
		})
	}
}

// A header without TLVs costs nothing for them.
func TestNoTLVsNoAllocation(t *testing.T) {
	unwrapping := func(header string) float64 {
		below := sent(header)
		parts := []string{header}
		unwrap := Unwrap(trusted)
		return testing.AllocsPerRun(100, func() {
			below.parts = parts[:1]
			parts[0] = header
			if _, err := unwrap(below); err != nil {
				t.Error(err)
			}
		})
	}
	without, with := unwrapping(v2(0x21, 0x11, fromTo)), unwrapping(v2(0x21, 0x11, fromTo+tlv(4, "")))
	t.Logf("%v allocations without a TLV, %v with one", without, with)
	if without >= with || without > 15 {
		t.Errorf("%v allocations without a TLV, %v with one", without, with)
	}
}

// FuzzText holds what is shown of a TLV to one printable line of bounded length.
func FuzzText(f *testing.F) {
	f.Add([]byte("a\n\xff\u202e"))
	f.Add(bytes.Repeat([]byte("\xf3\xa0\x80\x81"), 200))
	f.Fuzz(func(t *testing.T, value []byte) {
		got := text(value)
		if len(got) > 4*longestValue || strings.ContainsAny(got, "\n\r\x00\x1b\x7f\u2028") || got != strings.ToValidUTF8(got, "") {
			t.Errorf("%q", got)
		}
	})
}
