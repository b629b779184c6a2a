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
        group,target,origin,topic,partition,owner,stays,resumeOffset,method,waitsForMirror,repeatsAtMost,repeatMilliseconds,notMirrored,drain,openRecords,gapReason,gapRecords,refusal
        demo-purge,codfw,eqiad,eqiad.page.change,0,eqiad,false,90,tail,false,12,3400,2,open,14,,,
        demo-purge,codfw,eqiad,eqiad.page.change,1,eqiad,false,70,time,true,20,65000,500,open,520,,,
        demo-purge,codfw,eqiad,eqiad.page.change,2,eqiad,false,40,log start,false,60,,,sealed,,retention,7,
        demo-purge,codfw,eqiad,eqiad.page.change,3,eqiad,false,,,false,,,,unknown,,,,the topic had 4 partitions
        demo-purge,codfw,eqiad,eqiad.page.change,4,codfw,true,,,false,,,,open,,,,
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
}
