// Package webconfig reads the web.config.file of Prometheus exporters, in the format of exporter-toolkit. It has TLS,
// client certificates, passwords, headers and a rate limit.
//
// exporter-toolkit itself reads the file again for each request, and answers no request while the file is invalid. A
// [Config] has the content of the file at the time when it was loaded.
package webconfig

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/time/rate"

	"greetd.example/internal/credential"
	"greetd.example/internal/words"
)

// A Config has the requirements of an address for its clients. Its methods may be called concurrently.
type Config struct {
	// CertFile and KeyFile are the absolute paths of the certificate and the key. They are "" if the file itself
	// contains them, or if there is no TLS.
	CertFile, KeyFile string

	tls      *tls.Config // nil: plain HTTP
	headers  map[string]string
	users    map[string]string // the hash of the password, by user
	limiter  *rate.Limiter     // nil: no limit
	content  [][]byte          // the content of all files
	accepted acceptedPasswords
}

const maxSize = 1 << 20 // of each file

// Load reads the file at an absolute path, or the credential with this name. It also reads the files that this file
// names; relative paths are relative to its directory. The error is one sentence.
func Load(path string) (*Config, error) {
	content, err := credential.Read(path, maxSize)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	c := &Config{content: [][]byte{content}, accepted: acceptedPasswords{checking: make(chan struct{}, 1), pairs: make(map[[sha256.Size]byte]bool)}}
	if err := c.parse(content, filepath.Dir(credential.Path(path))); err != nil {
		return nil, fmt.Errorf("%s: %w", path, oneLine(err))
	}
	return c, nil
}

func (c *Config) parse(content []byte, directory string) error {
	file := web.Config{TLSConfig: web.TLSConfig{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	c.headers, c.users = file.HTTPConfig.Header, make(map[string]string)
	for user, hash := range file.Users {
		c.users[user] = string(hash)
	}
	if limit := file.RateLimiterConfig; limit.Interval != 0 {
		c.limiter = rate.NewLimiter(rate.Every(limit.Interval), limit.Burst)
	}
	if err := errors.Join(checkHeaders(c.headers), checkUsers(c.users)); err != nil {
		return err
	}
	if file.TLSConfig.IsEnabled() {
		file.TLSConfig.SetDirectory(directory)
		return c.loadTLS(file.TLSConfig)
	}
	if len(c.users) == 0 && len(c.headers) == 0 && c.limiter == nil {
		return errors.New("asks nothing of clients: write tls_server_config or basic_auth_users into it, or remove admin.web_config_file")
	}
	return nil
}

// loadTLS makes the TLS settings with exporter-toolkit, from the present content of the files.
func (c *Config) loadTLS(file web.TLSConfig) error {
	if file.TLSCertPath != "" && file.TLSKeyPath != "" {
		c.CertFile, c.KeyFile = file.TLSCertPath, file.TLSKeyPath
	}
	if err := errors.Join(
		readInto(c, "cert_file", &file.TLSCertPath, &file.TLSCert),
		readInto(c, "key_file", &file.TLSKeyPath, &file.TLSKey),
		readInto(c, "client_ca_file", &file.ClientCAs, &file.ClientCAsText),
	); err != nil {
		return err
	}
	if file.ClientCAsText != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(file.ClientCAsText)) {
		return errors.New("client_ca has no certificate, and no client could connect: there must be a line -----BEGIN CERTIFICATE-----")
	}
	var err error
	if c.tls, err = web.ConfigToTLSConfig(&file); err != nil {
		return fmt.Errorf("tls_server_config: %w", err)
	}
	c.tls.NextProtos = []string{"http/1.1"}
	return nil
}

// readInto reads the file at path into text, and sets path to "". It does nothing if path is "".
func readInto[S ~string](c *Config, key string, path *string, text *S) error {
	if *path == "" {
		return nil
	}
	content, err := credential.Read(*path, maxSize)
	if err != nil {
		also := ""
		if strings.Contains(err.Error(), "LoadCredential=") {
			also = " (the file of admin.web_config_file then has to be a credential, too)"
		}
		return fmt.Errorf("%s %s %w%s", key, *path, err, also)
	}
	c.content = append(c.content, content)
	*path, *text = "", S(content)
	return nil
}

// TLS returns a copy of the settings for TLS. It returns nil if the address has plain HTTP, as with a nil Config.
func (c *Config) TLS() *tls.Config {
	if c == nil {
		return nil
	}
	return c.tls.Clone()
}

// ServeCertificate makes TLS get the certificate from get. It must be called before the first call of TLS.
func (c *Config) ServeCertificate(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	c.tls.GetCertificate = get
}

// Equal reports whether c and other have the same requirements for clients. A nil Config has none.
func (c *Config) Equal(other *Config) bool {
	if c == nil || other == nil {
		return c == other
	}
	return slices.EqualFunc(c.content, other.content, bytes.Equal)
}

// allowedHeaders are the headers that exporter-toolkit allows, with their allowed values; nil allows any value.
var allowedHeaders = map[string][]string{
	"Content-Security-Policy":   nil,
	"Strict-Transport-Security": nil,
	"X-Content-Type-Options":    {"nosniff"},
	"X-Frame-Options":           {"deny", "sameorigin"},
	"X-XSS-Protection":          nil,
}

func checkHeaders(headers map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		values, known := allowedHeaders[name]
		switch {
		case !known:
			return fmt.Errorf("http_server_config.headers: %s can't be set: there are %s", words.Quote(name), strings.Join(slices.Sorted(maps.Keys(allowedHeaders)), ", "))
		case values != nil && !slices.Contains(values, headers[name]):
			return fmt.Errorf("http_server_config.headers: %s must be %s", name, strings.Join(values, " or "))
		}
	}
	return nil
}

// bcryptHash returns a pattern for the hashes that htpasswd -B makes and golang.org/x/crypto/bcrypt reads.
var bcryptHash = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\$2[abxy]?\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$`)
})

func checkUsers(users map[string]string) error {
	for _, user := range slices.Sorted(maps.Keys(users)) {
		if !bcryptHash().MatchString(users[user]) {
			return fmt.Errorf("basic_auth_users: the password of %s is not a bcrypt hash: make one with htpasswd -nB %s", words.Quote(user), words.Quote(user))
		}
	}
	return nil
}

// oneLine returns an error of several lines as one sentence, without the names of Go types.
func oneLine(err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	text = strings.Join(strings.Fields(strings.TrimPrefix(text, "yaml: unmarshal errors:; ")), " ")
	return errors.New(regexp.MustCompile(` in type web\.\w+`).ReplaceAllString(text, ""))
}
