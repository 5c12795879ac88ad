// Zooms the picture of zoom_page.py. Plain functions: nothing is fetched or stored.
const d=JSON.parse(document.getElementById('data').textContent),c=document.getElementById('p'),
g=c.getContext('2d'),tip=document.getElementById('tip');
const X=i=>d.start+d.step*i,N=d.scan.length,full=[X(0),X(N-1)];
let view=full.slice(),root=true,drag=null,mouse=null;
const f=v=>root?Math.sqrt(Math.max(v-d.low,0)):v;
function size(){const r=window.devicePixelRatio||1,k=Math.max(r,2);
c.width=c.clientWidth*k;c.height=c.clientHeight*k;g.setTransform(k,0,0,k,0,0)}
// Where there is no room beside the picture its words stand in it.
const narrow=()=>c.clientWidth<600,L=46,right=()=>narrow()?14:150;
function draw(){size();const w=c.clientWidth,h=c.clientHeight,R=right(),slim=narrow(),T=8;
const rows=d.rows.length,rowH=slim?30:17,bottom=26,base=h-bottom-rows*rowH,diffH=70,
top=base-diffH-8;
const px=x=>L+(x-view[0])/(view[1]-view[0])*(w-L-R);
g.clearRect(0,0,w,h);g.fillStyle='#fff';g.fillRect(0,0,w,h);
const a=Math.max(0,Math.floor((view[0]-d.start)/d.step)),
b=Math.min(N-1,Math.ceil((view[1]-d.start)/d.step));
let hi=-1e9,lo=1e9,most=1e-9;
for(let i=a;i<=b;i++){hi=Math.max(hi,f(d.scan[i]),f(d.calc[i]));lo=Math.min(lo,f(d.back[i]),f(d.scan[i]));
most=Math.max(most,Math.abs(d.scan[i]-d.calc[i]))}
if(!(hi>lo)){hi=lo+1}
const py=v=>top-(v-lo)/(hi-lo)*(top-T);
const line=(get,y,colour,width,dash)=>{g.beginPath();g.strokeStyle=colour;g.lineWidth=width;
g.setLineDash(dash||[]);const per=Math.max(1,Math.floor((b-a)/(w*2)));
for(let i=a;i<=b;i+=per){let m=get(i),n=m;for(let j=i;j<Math.min(i+per,b+1);j++){const v=get(j);
if(v>m)m=v;if(v<n)n=v}
const x=px(X(i));if(i===a)g.moveTo(x,y(m));else g.lineTo(x,y(m));if(n<m)g.lineTo(x,y(n))}
g.stroke();g.setLineDash([])};
g.save();g.beginPath();g.rect(L,0,w-L-R,h);g.clip();
line(i=>f(d.back[i]),py,d.colours.muted,1,[5,3]);
line(i=>f(d.scan[i]),py,d.colours.scan,1);
if(d.cell)line(i=>f(d.calc[i]),py,d.colours.fit,1.1);
const mid=top+8+diffH/2;
line(i=>d.scan[i]-d.calc[i],v=>mid-v/most*(diffH/2-3),d.colours.ink,.7);
d.rows.forEach((row,k)=>{g.strokeStyle=row.colour;g.lineWidth=1.2;g.beginPath();
const y=base+k*rowH+(slim?16:3);for(const t of row.at){if(t<view[0]||t>view[1])continue;
g.moveTo(px(t),y);g.lineTo(px(t),y+11)}g.stroke()});
if(mouse){g.strokeStyle='#999';g.lineWidth=.6;g.beginPath();g.moveTo(mouse.x,T);
g.lineTo(mouse.x,h-bottom);g.stroke()}
if(drag&&drag.now!==undefined){g.fillStyle='rgba(31,95,168,.15)';
g.fillRect(Math.min(drag.at,drag.now),T,Math.abs(drag.now-drag.at),h-bottom-T)}
g.restore();
g.fillStyle=d.colours.ink;g.font='12px system-ui,sans-serif';g.textBaseline='middle';
d.rows.forEach((row,k)=>{g.fillStyle=row.colour;
g.fillText(row.name+': '+row.at.length,slim?L:w-R+6,base+k*rowH+8.5)});
const beside=slim?w-R:w-R+6;g.textAlign=slim?'right':'left';
g.fillStyle=d.colours.scan;g.fillText('scan',beside,T+8);
if(d.cell){g.fillStyle=d.colours.fit;g.fillText('cell, fitted',beside,T+24)}
g.fillStyle=d.colours.muted;g.fillText('background (dashed)',beside,T+(d.cell?40:24));
g.fillStyle=d.colours.ink;g.fillText('difference',beside,slim?top+14:mid);g.textAlign='left';
g.strokeStyle=d.colours.muted;g.lineWidth=.8;g.beginPath();g.moveTo(L,h-bottom);
g.lineTo(w-R,h-bottom);g.stroke();
const span=view[1]-view[0],raw=span/8,p=Math.pow(10,Math.floor(Math.log10(raw))),
s=[1,2,5,10].map(m=>m*p).find(m=>m>=raw);g.textBaseline='top';g.textAlign='center';
for(let t=Math.ceil(view[0]/s)*s;t<=view[1];t+=s){g.beginPath();g.moveTo(px(t),h-bottom);
g.lineTo(px(t),h-bottom+4);g.stroke();
g.fillText(t.toFixed(Math.max(0,-Math.floor(Math.log10(s)))),px(t),h-bottom+5)}
g.textAlign=slim?'right':'left';g.fillText('2θ [°]',slim?w-R:w-R+6,h-bottom+(slim?15:5));g.textAlign='left';
g.save();g.translate(14,(top+T)/2);g.rotate(-Math.PI/2);g.textAlign='center';
g.fillText(root?'√ intensity':'intensity',0,-6);g.restore();
window.__view=view.slice()}
const at=e=>{const r=c.getBoundingClientRect();return e.clientX-r.left};
const toX=x=>view[0]+(x-L)/(c.clientWidth-L-right())*(view[1]-view[0]);
function zoom(m,k){let a=m-(m-view[0])*k,b=m+(view[1]-m)*k;a=Math.max(full[0],a);
b=Math.min(full[1],b);if(b-a>20*d.step){view=[a,b];draw()}}
c.addEventListener('wheel',e=>{e.preventDefault();zoom(toX(at(e)),e.deltaY>0?1.25:.8)},{passive:false});
c.addEventListener('pointerdown',e=>{drag={at:at(e),shift:e.shiftKey,view:view.slice()};
c.setPointerCapture(e.pointerId)});
c.addEventListener('pointermove',e=>{mouse={x:at(e)};const x=toX(mouse.x);
let near=null;for(const r of d.rows)r.at.forEach((t,i)=>{if(r.hkl&&(!near||Math.abs(t-x)<near[0]))
near=[Math.abs(t-x),t,r.hkl[i],r.name]});
const i=Math.round((x-d.start)/d.step);
tip.textContent='2θ '+x.toFixed(3)+'°   d '+(d.wavelength/2/Math.sin(x*Math.PI/360)).toFixed(4)+' Å'
+(d.scan[i]!==undefined?'   intensity '+d.scan[i].toPrecision(4):'')
+(near&&near[0]<(view[1]-view[0])/60?'   hkl '+near[2]+' at '+near[1].toFixed(3)+'° ('+near[3]+')':'');
if(drag){if(drag.shift){const m=(drag.at-mouse.x)/(c.clientWidth-L-right())*(drag.view[1]-drag.view[0]);
const a=Math.max(full[0],Math.min(full[1]-(drag.view[1]-drag.view[0]),drag.view[0]+m));
view=[a,a+drag.view[1]-drag.view[0]]}else drag.now=mouse.x}draw()});
c.addEventListener('pointerup',()=>{if(drag&&!drag.shift&&drag.now!==undefined&&Math.abs(drag.now-drag.at)>5){
const m=[toX(drag.at),toX(drag.now)].sort((a,b)=>a-b);
if(m[1]-m[0]>20*d.step)view=[Math.max(full[0],m[0]),Math.min(full[1],m[1])]}drag=null;draw()});
c.addEventListener('pointerleave',()=>{mouse=null;draw()});
c.addEventListener('dblclick',()=>{view=full.slice();draw()});
c.addEventListener('keydown',e=>{const m=(view[0]+view[1])/2,s=(view[1]-view[0])/5;
if(e.key==='+'||e.key==='=')zoom(m,.8);else if(e.key==='-')zoom(m,1.25);
else if(e.key==='0'){view=full.slice();draw()}
else if(e.key==='ArrowLeft'||e.key==='ArrowRight'){const k=e.key==='ArrowLeft'?-s:s;
const a=Math.max(full[0],Math.min(full[1]-(view[1]-view[0]),view[0]+k));
view=[a,a+view[1]-view[0]];draw()}else return;e.preventDefault()});
document.getElementById('all').onclick=()=>{view=full.slice();draw()};
document.getElementById('root').onclick=()=>{root=!root;draw()};
window.addEventListener('resize',draw);window.addEventListener('beforeprint',draw);draw();
