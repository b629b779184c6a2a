/// What the outputs of `Models` are, letter by letter.
enum Golden {
    static let describe80 = #"""
        TOPIC              P  OWNER  STATE    LAG     AGE  MIRROR  POSITION  CKPT AGE
        eqiad.page.change  0  eqiad  idle       0      0s      0s       100        2s
        eqiad.page.change  1  eqiad  moving    40     25s      3s        60        2s
        eqiad.page.change  2  eqiad  stuck     40  1h 23m      0s        60     1h 6m
        eqiad.page.change  3  eqiad  gap       90  2h 30m       -         4        2h
        eqiad.page.change  4  eqiad  unknown    -       -      0s         -        2s
        """#
    static let describeCSV = #"""
        group,origin,stream,topic,partition,owner,state,position,lagRecords,lagMilliseconds,mirrorLagRecords,mirrorLagMilliseconds,checkpointOffset,checkpointDatacenter,checkpointWrittenAt,checkpointAgeMilliseconds,checkpointEpoch,checkpointSealed,checkpointWorker,gapReason,gapRecords,problem,logStart.codfw,logEnd.codfw,committed.codfw,logStart.eqiad,logEnd.eqiad,committed.eqiad
        demo-purge,eqiad,page.change,eqiad.page.change,0,eqiad,idle,100,0,0,0,0,100,eqiad,1772330582000,2000,3,false,w1/7/abc,,,,0,90,,10,100,
        demo-purge,eqiad,page.change,eqiad.page.change,1,eqiad,moving,60,40,25000,3,3000,60,eqiad,1772330582000,2000,3,false,w1/7/abc,,,,0,87,,10,100,
        demo-purge,eqiad,page.change,eqiad.page.change,2,eqiad,stuck,60,40,5000000,0,0,60,eqiad,1772326584000,4000000,3,true,w1/7/abc,,,,0,90,,10,100,
        demo-purge,eqiad,page.change,eqiad.page.change,3,eqiad,gap,4,90,9000000,,,4,eqiad,1772323384000,7200000,3,false,w1/7/abc,retention,6,,0,,,10,100,
        demo-purge,eqiad,page.change,eqiad.page.change,4,eqiad,unknown,,,,0,0,7,,1772330582000,2000,3,false,w1/7/abc,,,,0,90,,10,100,
        """#
    static let describeJSON = #"""
        {"at":1772330584000,"clusters":[{"cluster":"cluster-c","datacenter":"codfw"},{"cluster":"cluster-e","datacenter":"eqiad"}],"group":"demo-purge","partitions":[{"checkpoint":{"ageMilliseconds":2000,"cluster":"cluster-e","datacenter":"eqiad","epoch":3,"offset":60,"sealed":false,"witness":1772330577000,"worker":"w1/7/abc","writtenAt":1772330582000},"clusters":[{"datacenter":"codfw","logEnd":87,"logStart":0,"mirrorLagMilliseconds":3000,"mirrorLagRecords":3},{"datacenter":"eqiad","logEnd":100,"logStart":10}],"lagMilliseconds":25000,"lagRecords":40,"origin":"eqiad","owner":"eqiad","partition":1,"position":60,"state":"moving","stream":"page.change","topic":"eqiad.page.change"}],"totals":{"gap":1,"idle":1,"lagMilliseconds":9000000,"lagRecords":170,"mirrorLagMilliseconds":3000,"moving":1,"partitions":5,"stuck":1,"unknown":1,"waiting":0}}
        """#
    static let describeWide = #"""
        TOPIC              P  OWNER  STATE    LAG     AGE  MIRROR  POSITION  CHECKPOINT  CKPT AGE  EPOCH  SEALED  COMMITTED  CODFW LOG  EQIAD LOG  CHECKPOINT TIME       WORKER
        eqiad.page.change  0  eqiad  idle       0      0s      0s       100         100        2s      3  no              -      0..90    10..100  2026-03-01T02:03:02Z  w1/7/abc
        eqiad.page.change  1  eqiad  moving    40     25s      3s        60          60        2s      3  no              -      0..87    10..100  2026-03-01T02:03:02Z  w1/7/abc
        eqiad.page.change  2  eqiad  stuck     40  1h 23m      0s        60          60     1h 6m      3  yes             -      0..90    10..100  2026-03-01T00:56:24Z  w1/7/abc
        eqiad.page.change  3  eqiad  gap       90  2h 30m       -         4           4        2h      3  no              -          -    10..100  2026-03-01T00:03:04Z  w1/7/abc
        eqiad.page.change  4  eqiad  unknown    -       -      0s         -         7@?        2s      3  no              -      0..90    10..100  2026-03-01T02:03:02Z  w1/7/abc
        """#
    static let planCSV = #"""
        group,target,origin,topic,partition,owner,stays,resumeOffset,method,waitsForMirror,repeatsAtMost,repeatMilliseconds,notMirrored,notMirroredMilliseconds,drain,openRecords,gapReason,gapRecords,refusal
        demo-purge,codfw,eqiad,eqiad.page.change,0,eqiad,false,90,tail,false,12,3400,2,,open,14,,,
        demo-purge,codfw,eqiad,eqiad.page.change,1,eqiad,false,70,time,true,20,65000,500,61000,open,520,,,
        demo-purge,codfw,eqiad,eqiad.page.change,2,eqiad,false,40,log start,false,60,,,,sealed,,retention,7,
        demo-purge,codfw,eqiad,eqiad.page.change,3,eqiad,false,,,false,,,,,unknown,,,,the topic had 4 partitions
        demo-purge,codfw,eqiad,eqiad.page.change,4,codfw,true,,,false,,,,,open,,,,
        """#
    static let planJSON = #"""
        {"drain":"open","method":"tail","notMirrored":2,"openRecords":14,"origin":"eqiad","owner":"eqiad","partition":0,"repeatMilliseconds":3400,"repeatsAtMost":12,"resumeOffset":90,"stays":false,"topic":"eqiad.page.change","waitsForMirror":false}
        """#
    static let planWide = #"""
        TOPIC              P  OWNER  GOES ON AT  FOUND BY     REPEATS ≤   SPAN  UNMIRRORED ≤  DRAIN     GAP
        eqiad.page.change  0  eqiad          90  tail                12   3.4s             2  open 14   none
        eqiad.page.change  1  eqiad          70  time, waits         20  1m 5s           500  open 520  none
        eqiad.page.change  2  eqiad          40  log start           60      -             -  sealed    retention 7
        eqiad.page.change  3  eqiad           -  refused              -      -             -  unknown   none
        eqiad.page.change  4  codfw           -  stays                -      -             -  -         -
        """#

    static let outputs: [String: String] = [
        "diff60": #"""
            TOPIC              P  SAME  MISSING  REPEATED  REORDERED
            eqiad.page.change  0  1000        0         0          0
            eqiad.page.change  1    90        2         3          1
            eqiad.page.change  2     0        0         0          0
            """#,
        "diff80": #"""
            TOPIC              P  SAME  MISSING  REPEATED  REORDERED  EXTRA  TRIMMED  BEHIND
            eqiad.page.change  0  1000        0         0          0      0        0       0
            eqiad.page.change  1    90        2         3          1      4       10       5
            eqiad.page.change  2     0        0         0          0      0        0       0
            """#,
        "diffCSV": #"""
            first,second,topic,partition,same,missing,repeated,reordered,extra,trimmed,behind,problem
            eqiad,codfw,eqiad.page.change,0,1000,0,0,0,0,0,0,
            eqiad,codfw,eqiad.page.change,1,90,2,3,1,4,10,5,
            eqiad,codfw,eqiad.page.change,2,0,0,0,0,0,0,0,codfw does not have it
            """#,
        "diffJSON": #"""
            {"first":"eqiad","partitions":[{"counts":{"behind":0,"extra":0,"missing":0,"reordered":0,"repeated":0,"same":1000,"trimmed":0},"partition":0,"samples":[],"topic":"eqiad.page.change"}],"second":"codfw","totals":{"behind":5,"extra":4,"missing":2,"reordered":1,"repeated":3,"same":1090,"trimmed":10}}
            """#,
        "diffRemarks": #"""
            eqiad.page.change/1: missing: eqiad offset 12, 2026-03-01T02:03:04Z, fingerprint 00000000000000aa
            eqiad.page.change/2: not compared to its end: codfw does not have it
            """#,
        "diffSummary": #"""
            3 partitions, 1090 records the same: 2 records of eqiad are missing in codfw, but 1 partition could not be compared to the end; 3 repeated, 1 reordered, 4 only in codfw, 10 trimmed there, 5 not mirrored yet
            """#,
        "list80": #"""
            GROUP       ORIGIN  STREAM       PARTS  OWNERS       EPOCH  PHASE
            demo-purge  eqiad   page.change      4  eqiad,codfw      3  draining
            """#,
        "listCSV": #"""
            group,origin,stream,topic,partitions,owners,epoch,phase
            demo-purge,eqiad,page.change,eqiad.page.change,4,eqiad;codfw,3,draining
            """#,
        "listJSON": #"""
            [{"epoch":3,"group":"demo-purge","origin":"eqiad","owners":["eqiad","codfw"],"partitions":4,"phase":"draining","stream":"page.change","topic":"eqiad.page.change"}]
            """#,
        "peek80": #"""
               OFFSET  TIME                  KEY     FINGERPRINT       VALUE
                   59  2026-03-01T02:03:03Z  page/7  00000000000000aa  {"a":"·[…w terminal"}
            →      60  -                     null    00000000000000ab  null
            """#,
        "peekCSV": #"""
            topic,partition,datacenter,offset,isNext,time,timestampType,fingerprint,key,valueSize,value
            eqiad.page.change,0,eqiad,59,false,1772330583000,createTime,00000000000000aa,page/7,57,"{""a"":""\#u{7}[31m and a value that is too long for a narrow terminal""}"
            eqiad.page.change,0,eqiad,60,true,,none,00000000000000ab,,,
            """#,
        "peekJSON": #"""
            [{"datacenter":"eqiad","fingerprint":"00000000000000aa","isNext":false,"key":"page/7","offset":59,"partition":0,"time":1772330583000,"timestampType":"createTime","topic":"eqiad.page.change","value":"{\"a\":\"\u0007[31m and a value that is too long for a narrow terminal\"}","valueSize":57},{"datacenter":"eqiad","fingerprint":"00000000000000ab","isNext":true,"offset":60,"partition":0,"timestampType":"none","topic":"eqiad.page.change"}]
            """#,
        "peekWide": #"""
               OFFSET  TIME                  KEY     FINGERPRINT       SIZE  VALUE
                   59  2026-03-01T02:03:03Z  page/7  00000000000000aa    57  {"a":"·[31m and a value that is too long for a narrow terminal"}
            →      60  -                     null    00000000000000ab     -  null
            """#,
        "rewind80": #"""
            TOPIC              P  IN     PRIOR  → NEW  RECORDS     TIME  WOULD
            eqiad.page.change  0  eqiad    100     60      -40  -6m 39s  repeat
            eqiad.page.change  1  eqiad     60    100      +40  +1m 30s  leave out
            eqiad.page.change  2  eqiad      7      7        0       0s  unchanged
            eqiad.page.change  3  eqiad      5      -        -        -  refused
            eqiad.page.change  4  eqiad      -      3        -        -  set
            """#,
        "rewindCSV": #"""
            group,to,origin,topic,partition,owner,datacenter,priorOffset,priorTime,newOffset,newTime,records,milliseconds,outcome,problem
            demo-purge,offset 60,eqiad,eqiad.page.change,0,eqiad,eqiad,100,1772330584000,60,1772330184500,40,399500,planned,
            demo-purge,offset 60,eqiad,eqiad.page.change,1,eqiad,eqiad,60,,100,1772330585000,-40,-90000,planned,
            demo-purge,offset 60,eqiad,eqiad.page.change,2,eqiad,eqiad,7,,7,,0,0,unchanged,
            demo-purge,offset 60,eqiad,eqiad.page.change,3,eqiad,eqiad,5,,,,,,refused,offset 500 is not in eqiad's log: 0 to 100 would be right
            demo-purge,offset 60,eqiad,eqiad.page.change,4,eqiad,eqiad,,,3,,,,planned,
            """#,
        "rewindJSON": #"""
            {"at":1772330590000,"group":"demo-purge","partitions":[{"datacenter":"eqiad","milliseconds":399500,"newOffset":60,"newTime":1772330184500,"origin":"eqiad","outcome":"planned","owner":"eqiad","partition":0,"priorOffset":100,"priorTime":1772330584000,"records":40,"topic":"eqiad.page.change"},{"datacenter":"eqiad","milliseconds":-90000,"newOffset":100,"newTime":1772330585000,"origin":"eqiad","outcome":"planned","owner":"eqiad","partition":1,"priorOffset":60,"records":-40,"topic":"eqiad.page.change"},{"datacenter":"eqiad","milliseconds":0,"newOffset":7,"origin":"eqiad","outcome":"unchanged","owner":"eqiad","partition":2,"priorOffset":7,"records":0,"topic":"eqiad.page.change"},{"datacenter":"eqiad","origin":"eqiad","outcome":"refused","owner":"eqiad","partition":3,"priorOffset":5,"problem":"offset 500 is not in eqiad's log: 0 to 100 would be right","topic":"eqiad.page.change"},{"datacenter":"eqiad","newOffset":3,"origin":"eqiad","outcome":"planned","owner":"eqiad","partition":4,"topic":"eqiad.page.change"}],"to":"offset 60"}
            """#,
        "rewindSummary": #"""
            group demo-purge to offset 60: 3 of 5 partitions, 40 records would be done again, 40 left out, unknown in 1
            """#,
        "rewindWide": #"""
            TOPIC              P  IN     PRIOR  → NEW  RECORDS     TIME  PRIOR TIME            NEW TIME                  RESULT
            eqiad.page.change  0  eqiad    100     60      -40  -6m 39s  2026-03-01T02:03:04Z  2026-03-01T01:56:24.500Z  repeat
            eqiad.page.change  1  eqiad     60    100      +40  +1m 30s  -                     2026-03-01T02:03:05Z      leave out
            eqiad.page.change  2  eqiad      7      7        0       0s  -                     -                         unchanged
            eqiad.page.change  3  eqiad      5      -        -        -  -                     -                         refused
            eqiad.page.change  4  eqiad      -      3        -        -  -                     -                         set
            """#,
        "translate80": #"""
            TOPIC              P  EQIAD OFFSET  TIME                  CODFW OFFSET  FOUND BY
            eqiad.page.change  0            60  2026-03-01T02:03:04Z            63  tail
            eqiad.page.change  1            60  -                               40  time
            eqiad.page.change  2           600  -                                -  -
            """#,
        "translateCSV": #"""
            topic,partition,from,fromOffset,time,to,toOffset,method,isConfirmed,problem
            eqiad.page.change,0,eqiad,60,1772330584000,codfw,63,tail,true,
            eqiad.page.change,1,eqiad,60,,codfw,40,time,false,the mirror has not brought it yet
            eqiad.page.change,2,eqiad,600,,codfw,,,false,not in eqiad's log (0 to 100 would be right)
            """#,
        "translateJSON": #"""
            [{"from":"eqiad","fromOffset":60,"isConfirmed":true,"method":"tail","partition":0,"time":1772330584000,"to":"codfw","toOffset":63,"topic":"eqiad.page.change"},{"from":"eqiad","fromOffset":60,"isConfirmed":false,"method":"time","partition":1,"problem":"the mirror has not brought it yet","to":"codfw","toOffset":40,"topic":"eqiad.page.change"},{"from":"eqiad","fromOffset":600,"isConfirmed":false,"partition":2,"problem":"not in eqiad's log (0 to 100 would be right)","to":"codfw","topic":"eqiad.page.change"}]
            """#,
        "translateWide": #"""
            TOPIC              P  EQIAD OFFSET  TIME                  CODFW OFFSET  FOUND BY
            eqiad.page.change  0            60  2026-03-01T02:03:04Z            63  tail
            eqiad.page.change  1            60  -                               40  time      the mirror has not brought it yet
            eqiad.page.change  2           600  -                                -  -         not in eqiad's log (0 to 100 would be right)
            """#,
    ]
}
