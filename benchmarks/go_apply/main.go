// Command goapply is the handler that a Go team would write for change records, for bench_apply.py to stand beside.
//
//	put    one conditional PutItem a record
//	batch  25 conditional PartiQL updates a request
//
// It decodes and writes. It neither deduplicates nor coalesces, keeps no marks and no checkpoints, and does not read
// the outcome of a statement, so it does less than the replicator. CPU time is the process's own; run it with
// GOMAXPROCS=1. Prints one JSON object.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	batchSize = 25
	workers   = 16
	statement = `UPDATE "engagement" SET "points"=? SET "tier"=? SET "badges"=? SET "cf_recent"=? SET "cf_events"=?` +
		` SET "cf_emv"=? SET "cf_mv"=? REMOVE "preferences" REMOVE "created_ms" REMOVE "cf_floor"` +
		` REMOVE "cf_deleted" REMOVE "cf_ttl" WHERE "pk"=? AND "sk"=? AND cf_mv<? AND cf_role='S'`
)

type record struct {
	Dynamodb struct{ NewImage map[string]json.RawMessage }
}

// value turns DynamoDB JSON into the SDK's type.
func value(raw json.RawMessage) (types.AttributeValue, error) {
	var typed struct {
		S, N *string
		B    []byte
		BS   [][]byte
		SS   []string
		L    []json.RawMessage
		M    map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &typed); err != nil {
		return nil, err
	}
	switch {
	case typed.S != nil:
		return &types.AttributeValueMemberS{Value: *typed.S}, nil
	case typed.N != nil:
		return &types.AttributeValueMemberN{Value: *typed.N}, nil
	case typed.B != nil:
		return &types.AttributeValueMemberB{Value: typed.B}, nil
	case typed.BS != nil:
		return &types.AttributeValueMemberBS{Value: typed.BS}, nil
	case typed.SS != nil:
		return &types.AttributeValueMemberSS{Value: typed.SS}, nil
	case typed.L != nil:
		list := make([]types.AttributeValue, len(typed.L))
		for i, each := range typed.L {
			var err error
			if list[i], err = value(each); err != nil {
				return nil, err
			}
		}
		return &types.AttributeValueMemberL{Value: list}, nil
	}
	fields, err := item(typed.M)
	return &types.AttributeValueMemberM{Value: fields}, err
}

func item(image map[string]json.RawMessage) (map[string]types.AttributeValue, error) {
	decoded := make(map[string]types.AttributeValue, len(image))
	for name, raw := range image {
		var err error
		if decoded[name], err = value(raw); err != nil {
			return nil, err
		}
	}
	return decoded, nil
}

func decode(line []byte) (map[string]types.AttributeValue, error) {
	var change record
	if err := json.Unmarshal(line, &change); err != nil {
		return nil, err
	}
	return item(change.Dynamodb.NewImage)
}

func put(db *dynamodb.Client, lines [][]byte) error {
	for _, line := range lines {
		image, err := decode(line)
		if err != nil {
			return err
		}
		_, err = db.PutItem(context.Background(), &dynamodb.PutItemInput{
			TableName:                 aws.String("engagement"),
			Item:                      image,
			ConditionExpression:       aws.String("attribute_not_exists(pk) OR cf_mv < :v"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":v": image["cf_mv"]},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func batch(db *dynamodb.Client, lines [][]byte) error {
	statements := make([]types.BatchStatementRequest, 0, len(lines))
	for _, line := range lines {
		i, err := decode(line)
		if err != nil {
			return err
		}
		statements = append(statements, types.BatchStatementRequest{
			Statement: aws.String(statement),
			Parameters: []types.AttributeValue{
				i["balance"], i["tier"], i["badges"], i["cf_recent"], i["cf_events"], i["cf_emv"], i["cf_mv"],
				i["pk"], i["sk"], i["cf_mv"],
			},
		})
	}
	_, err := db.BatchExecuteStatement(context.Background(), &dynamodb.BatchExecuteStatementInput{Statements: statements})
	return err
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return float64(usage.Utime.Sec+usage.Stime.Sec) + float64(usage.Utime.Usec+usage.Stime.Usec)/1e6
}

func readLines(path string, count int) [][]byte {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	lines := make([][]byte, 0, count)
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<20), 1<<20)
	for len(lines) < count && scanner.Scan() {
		lines = append(lines, append([]byte(nil), scanner.Bytes()...))
	}
	return lines
}

func main() {
	mode := flag.String("mode", "put", "put or batch")
	count := flag.Int("n", 5000, "records")
	endpoint := flag.String("endpoint", "", "stub DynamoDB")
	path := flag.String("file", "", "change records, one a line")
	flag.Parse()
	lines := readLines(*path, *count)
	handle := map[string]func(*dynamodb.Client, [][]byte) error{"put": put, "batch": batch}[*mode]
	if handle == nil || len(lines) == 0 {
		log.Fatal("need -mode put or batch, and a file with records")
	}
	db := dynamodb.New(dynamodb.Options{
		Region:       "us-east-1",
		BaseEndpoint: endpoint,
		Credentials:  credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	round := func(lines [][]byte) {
		chunks := make(chan [][]byte, len(lines)/batchSize+1)
		for start := 0; start < len(lines); start += batchSize {
			chunks <- lines[start:min(start+batchSize, len(lines))]
		}
		close(chunks)
		var group sync.WaitGroup
		for range workers {
			group.Add(1)
			go func() {
				defer group.Done()
				for chunk := range chunks {
					if err := handle(db, chunk); err != nil {
						log.Fatal(err)
					}
				}
			}()
		}
		group.Wait()
	}
	round(lines[:min(len(lines), 500)]) // connections, caches
	started := cpuSeconds()
	round(lines)
	spent := cpuSeconds() - started
	fmt.Printf(`{"mode":%q,"records":%d,"cpu_us_per_record":%.2f}`+"\n", *mode, len(lines), spent/float64(len(lines))*1e6)
}
