package webconfig

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Admit reports whether r may be answered. If not, it answers r itself: with 401 if user or password are wrong or
// missing, with 429 above the rate limit. It also sets the headers. The check of a password uses a CPU for tens of
// milliseconds; Admit calls slow before it. A password that was right before is not checked again.
func (c *Config) Admit(w http.ResponseWriter, r *http.Request, slow func()) bool {
	for name, value := range c.headers {
		w.Header().Set(name, value)
	}
	if c.limiter != nil && !c.limiter.Allow() {
		http.Error(w, "more requests than rate_limit of admin.web_config_file allows", http.StatusTooManyRequests)
		return false
	}
	if len(c.users) == 0 {
		return true
	}
	if user, password, given := r.BasicAuth(); given && c.isUser(r, user, password, slow) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="greetd", charset="UTF-8"`)
	http.Error(w, "user and password are needed here (basic_auth_users of admin.web_config_file)", http.StatusUnauthorized)
	return false
}

func (c *Config) isUser(r *http.Request, user, password string, slow func()) bool {
	hash, exists := c.users[user]
	if !exists {
		hash = c.users[slices.Min(slices.Collect(maps.Keys(c.users)))] // so that the time of the answer does not reveal whether the user exists
	}
	pair := sha256.Sum256(fmt.Appendf(nil, "%d %s%d %s", len(user), user, len(password), password))
	if c.accepted.has(pair) {
		return true
	}
	slow()
	select {
	case c.accepted.checking <- struct{}{}: // only one check at a time
		defer func() { <-c.accepted.checking }()
	case <-r.Context().Done():
		return false
	}
	good := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && exists
	if good {
		c.accepted.add(pair)
	}
	return good
}

// acceptedPasswords has the hashes of the pairs of user and password that were right.
type acceptedPasswords struct {
	checking chan struct{} // is full while a password is being checked

	mu    sync.Mutex
	pairs map[[sha256.Size]byte]bool // at most mostAccepted
}

// mostAccepted is the maximum number of pairs, far more than the number of users. One user can have several pairs,
// since bcrypt ignores the part of a password after 72 bytes.
const mostAccepted = 1000

func (a *acceptedPasswords) has(pair [sha256.Size]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pairs[pair]
}

func (a *acceptedPasswords) add(pair [sha256.Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pairs) >= mostAccepted {
		clear(a.pairs)
	}
	a.pairs[pair] = true
}
