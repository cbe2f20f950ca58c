// Books, as a team writes them: no health checks, no metrics, no correlation ids. Go's standard library only.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type book struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

var (
	lock  sync.Mutex
	books = []book{{"1", "Candide"}, {"2", "Nadja"}}
)

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func list(w http.ResponseWriter, _ *http.Request) {
	lock.Lock()
	defer lock.Unlock()
	answer(w, http.StatusOK, books)
}

func show(w http.ResponseWriter, r *http.Request) {
	lock.Lock()
	defer lock.Unlock()
	for _, found := range books {
		if found.ID == r.PathValue("id") {
			answer(w, http.StatusOK, found)
			return
		}
	}
	http.Error(w, "no such book", http.StatusNotFound)
}

func create(w http.ResponseWriter, r *http.Request) {
	var added book
	if json.NewDecoder(r.Body).Decode(&added) != nil || added.Title == "" {
		http.Error(w, "title is missing", http.StatusBadRequest)
		return
	}
	lock.Lock()
	defer lock.Unlock()
	added.ID = strconv.Itoa(len(books) + 1)
	books = append(books, added)
	answer(w, http.StatusCreated, added)
}

func slow(w http.ResponseWriter, r *http.Request) {
	milliseconds, err := strconv.Atoi(r.FormValue("ms"))
	if err != nil {
		milliseconds = 1500
	}
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	answer(w, http.StatusOK, map[string]bool{"slept": true})
}

// events sends five, one every 100 ms.
func events(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	for number := 1; number <= 5; number++ {
		fmt.Fprintf(w, "data: {\"number\":%d}\n\n", number)
		http.NewResponseController(w).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

func fail(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "password=hunter2 at db.internal", http.StatusInternalServerError)
}

// echo shows what came in, so that a test sees what was added on the way.
func echo(w http.ResponseWriter, r *http.Request) {
	headers := map[string]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	answer(w, http.StatusOK, map[string]any{"method": r.Method, "headers": headers})
}

func main() {
	http.HandleFunc("GET /api/v1/books", list)
	http.HandleFunc("GET /api/v1/books/{id}", show)
	http.HandleFunc("POST /api/v1/books", create)
	http.HandleFunc("GET /api/v1/slow", slow)
	http.HandleFunc("GET /api/v1/events", events)
	http.HandleFunc("GET /api/v1/fail", fail)
	http.HandleFunc("/api/v1/echo", echo)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	port := cmp.Or(os.Getenv("PORT"), "8080")
	log.Printf("go books on %s", port)
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
