package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

type person struct {
	jwt.RegisteredClaims
	UserName string   `json:"preferred_username"`
	Groups   []string `json:"groups"`
}

func main() {
	issuer := os.Getenv("SALLYPORT_ISSUER")           // https://login.access.example.com
	audience := os.Getenv("SALLYPORT_APPLICATION_ID") // sallyport app show NAME
	keys, err := keyfunc.NewDefault([]string{issuer + "/.well-known/jwks.json"})
	if err != nil {
		log.Fatal(err)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256"}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(30*time.Second),
	)
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		var who person
		token := r.Header.Get("Sallyport-Jwt-Assertion")
		if _, err := parser.ParseWithClaims(token, &who, keys.Keyfunc); err != nil || who.Subject == "" {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{
			"id": who.Subject, "name": who.UserName, "groups": who.Groups,
		})
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
