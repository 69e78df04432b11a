package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// requestLimit bounds the whole request.
const requestLimit = 20 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: goclient URL | -version")
		os.Exit(2)
	}
	if os.Args[1] == "-version" {
		fmt.Println("goclient")
		return
	}
	if err := get(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(url string) error {
	client := http.Client{Timeout: requestLimit}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
