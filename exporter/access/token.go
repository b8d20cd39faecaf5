// SPDX-License-Identifier: Apache-2.0

package access

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"time"
)

// bearerToken returns the token of the Authorization header (RFC 6750, 2.1).
func bearerToken(request *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxTokenBytes
}

// expiryOf returns when a JSON web token says that it ends (RFC 7519, 4.1.4).
// It believes the token, so it is good for ending earlier than otherwise and
// for nothing else. Tokens of another form have none.
func expiryOf(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Expiry *float64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Expiry == nil ||
		*claims.Expiry < 0 || *claims.Expiry > math.MaxInt32*1000.0 {
		return time.Time{}, false
	}
	return time.Unix(int64(*claims.Expiry), 0), true
}
