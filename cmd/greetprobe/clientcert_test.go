package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	"greetd.example/internal/test/testserver"
)

// Each mistake with the files of --cert and --key is named with the file that has it.
func TestClientCertificateFiles(t *testing.T) {
	root := testserver.NewAuthority(t)
	cert, key := pemPair(t, root.Sign(t, &x509.Certificate{}))
	_, other := pemPair(t, root.Sign(t, &x509.Certificate{}))
	encrypted := pemText("ENCRYPTED PRIVATE KEY", []byte("?"))
	old := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("?"), Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}}))
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"cert": cert, "key": key, "both": key + cert, "other": other, "encrypted": encrypted, "old": old, "empty": "",
		"bad": pemText("CERTIFICATE", []byte("?")), "parameters": pemText("EC PARAMETERS", []byte("?")) + key,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ cert, key, want string }{
		{"cert", "key", ""},
		{"both", "", ""},
		{"cert", "parameters", ""},
		{"", "key", "--key needs --cert"},
		{"cert", "", "--cert cert: no private key in it (PEM): give it with --key FILE"},
		{"cert", "cert", "--key cert: no private key in it (PEM)"},
		{"key", "key", "--cert key: no certificate in it (PEM)"},
		{"empty", "key", "--cert empty: no certificate in it (PEM)"},
		{"cert", "encrypted", "--key encrypted: the private key is encrypted, and greetprobe asks for no passphrase: decrypt it with openssl pkey -in encrypted -out FILE"},
		{"cert", "old", "--key old: the private key is encrypted, and greetprobe asks for no passphrase: decrypt it with openssl pkey -in old -out FILE"},
		{"cert", "other", "--cert cert: its first certificate is not that of the private key in other"},
		{"bad", "key", "--cert bad: malformed certificate"},
		{"nosuch", "key", "--cert: open nosuch: no such file or directory"},
		{"cert", "nosuch", "--key: open nosuch: no such file or directory"},
	} {
		f := probeFlags{cert: test.cert, key: test.key}
		got := ""
		if err := f.setCertificate(new(tls.Config)); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("--cert %s --key %s: %s\nwant %s", test.cert, test.key, got, test.want)
		}
	}
}

func pemPair(t *testing.T, pair tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemText("CERTIFICATE", pair.Certificate[0]), pemText("PRIVATE KEY", der)
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
